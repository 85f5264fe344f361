/* quic_packets.h: protection of QUIC's 1-RTT packets by ChaCha20-Poly1305 (RFC 9001, section 5), many at once.
 *
 * A packet lies where it is sent from or was received at: header, text and tag, one behind the other. Its header is the
 * first byte, the peer's connection id and the packet number; the mask of the header is made of 16 bytes of the sealed
 * text, which begin 4 bytes behind the beginning of the packet number. */
#ifndef SSBFAST_QUIC_PACKETS_H
#define SSBFAST_QUIC_PACKETS_H

#include "internal.h"

#define SSBI_QUIC_KEY 32u
#define SSBI_QUIC_IV 12u
#define SSBI_QUIC_TAG 16u
#define SSBI_QUIC_SAMPLE 16u
#define SSBI_QUIC_NUMBER 4u /* longest packet number on the wire, and where the sample begins */

typedef struct {
    const ssb_aead *_aead;
    uint8_t _key[SSBI_QUIC_KEY];
    uint32_t _words[SSBI_QUIC_KEY / 4]; /* the same, as kernels read it */
    uint32_t _hp[SSBI_QUIC_KEY / 4];    /* of the header; a key update leaves it */
    uint8_t _iv[SSBI_QUIC_IV];
} ssbi_quic_keys;

typedef struct {
    uint8_t *at;     /* the first byte of the header */
    uint32_t n;      /* header, text and tag; at least head_n + 4 - number_n + 16 (a sample) and head_n + 16 (a tag) */
    uint32_t head_n; /* header up to the text, packet number included */
    uint64_t number; /* whole */
    uint8_t good;    /* the answer of ssbi_quic_open */
} ssbi_quic_packet;

void ssbi_quic_set_key(ssbi_quic_keys *k, const uint8_t *key, const uint8_t *iv);
void ssbi_quic_set_hp(ssbi_quic_keys *k, const uint8_t *hp);

/* Seal packets whose headers are plain: the lower two bits of a first byte say how long its packet number is. The last
 * 16 of n bytes become the tag; then the header is masked. count: any. */
void ssbi_quic_seal(const ssbi_quic_keys *k, const ssbi_quic_packet *packets, size_t count);

/* Take the masks off headers: at[0] and the packet number become plain, where they lie. number_at: the bytes in front of
 * the packet number; n is at least number_at + 4 + 16. Sets head_n. Nothing is verified yet: a forged header is some
 * header. */
void ssbi_quic_unmask(const ssbi_quic_keys *k, ssbi_quic_packet *packets, size_t count, size_t number_at);

/* Open unmasked packets whose n is at least head_n + 16, and whose number is set: `good` says which are authentic. Their
 * text is plain then, where it lay; a packet that is not good stays as it was, for other keys to try. */
void ssbi_quic_open(const ssbi_quic_keys *k, ssbi_quic_packet *packets, size_t count);

#endif
