// Boxes as a plain Go program makes them, with golang.org/x/crypto/nacl/secretbox.
//
// One order a line of JSON on stdin: {"op": "seal", "sizes": [9, 1000], "count": 64, "passes": 3}. The answer says what
// one pass cost on the clock and what it came to: {"seconds": ..., "digest": SHA-256 in hex}. Body i is sizes[i % n]
// bytes of the value i % 251.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/crypto/nacl/secretbox"
)

type order struct {
	Op     string
	Sizes  []int
	Count  int
	Passes int
}

type nonce [24]byte

func (n *nonce) next() {
	for i := 23; i >= 0; i-- {
		n[i]++
		if n[i] != 0 {
			return
		}
	}
}

var (
	key   [32]byte
	first nonce
)

func seal(out []byte, bodies [][]byte) []byte {
	n := first
	var head [18]byte
	for _, body := range bodies {
		headNonce := n
		n.next()
		at := len(out)
		out = append(out, make([]byte, 18)...) // room for what the header is longer than the mac of the body
		out = secretbox.Seal(out, body, (*[24]byte)(&n), &key)
		n.next()
		binary.BigEndian.PutUint16(head[:], uint16(len(body)))
		copy(head[2:], out[at+18:at+34])
		secretbox.Seal(out[at:at], head[:], (*[24]byte)(&headNonce), &key)
	}
	return out
}

func open(out, wire []byte) []byte {
	n := first
	var head [18]byte
	for len(wire) > 0 {
		plain, ok := secretbox.Open(head[:0], wire[:34], (*[24]byte)(&n), &key)
		if !ok {
			panic("a wrong header")
		}
		n.next()
		size := int(binary.BigEndian.Uint16(plain))
		copy(wire[18:34], plain[2:])
		body := wire[18 : 34+size]
		if out, ok = secretbox.Open(out, body, (*[24]byte)(&n), &key); !ok {
			panic("a wrong body")
		}
		n.next()
		wire = wire[34+size:]
	}
	return out
}

func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func carryOut(o order) {
	bodies := make([][]byte, o.Count)
	total := 0
	for i := range bodies {
		bodies[i] = bytes.Repeat([]byte{byte(i % 251)}, o.Sizes[i%len(o.Sizes)])
		total += len(bodies[i]) + 34
	}
	sealed := seal(nil, bodies)
	out, wire := make([]byte, 0, total), make([]byte, len(sealed))
	var seconds, used time.Duration
	for i := 0; i < o.Passes; i++ {
		copy(wire, sealed) // opening is done in place
		began, before := time.Now(), cpu()
		if o.Op == "seal" {
			out = seal(out[:0], bodies)
		} else {
			out = open(out[:0], wire)
		}
		seconds += time.Since(began)
		used += cpu() - before
	}
	digest := sha256.Sum256(out)
	passes := float64(o.Passes)
	fmt.Printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"digest\": \"%s\"}\n",
		seconds.Seconds()/passes, used.Seconds()/passes, hex.EncodeToString(digest[:]))
}

func main() {
	for i := range key {
		key[i] = byte(i)
	}
	for i := range first {
		first[i] = byte(100 + i)
	}
	fmt.Println(`{"event": "ready"}`)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			panic(err)
		}
		carryOut(o)
	}
}
