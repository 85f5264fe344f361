// One end of a QUIC connection by quic-go. The arguments, and what it prints, are those of all peers: ../peer.py.
//
// quic-go chooses the cipher suite by the processor: AES-128-GCM where AES is in hardware. `-suite chacha20` has
// GODEBUG hide that from a second run of this program.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/quic-go/quic-go"
)

const (
	block    = 1024
	chunk    = 65536
	farewell = 3 * time.Second
	hideAES  = "cpu.aes=off"
)

//go:linkname firstKeyUpdate github.com/quic-go/quic-go/internal/handshake.FirstKeyUpdateInterval
var firstKeyUpdate uint64

//go:linkname setKeyUpdate github.com/quic-go/quic-go/internal/handshake.SetKeyUpdateInterval
func setKeyUpdate(packets uint64) func()

var (
	address     = flag.String("address", "127.0.0.1:0", "HOST:PORT to listen on or to dial")
	certificate = flag.String("certificate", "", "PEM: of the server")
	key         = flag.String("key", "", "PEM: private key of the server")
	alpn        = flag.String("alpn", "bench", "")
	total       = flag.Int("bytes", 1<<20, "of the transfer")
	datagram    = flag.Int("datagram", 1400, "bytes of UDP payload")
	suite       = flag.String("suite", "aes128", "aes128 or chacha20")
	gso         = flag.String("gso", "on", "on or off")
	updates     = flag.Uint64("updates", 0, "packets between key updates; 0: as the library does")
)

func say(what map[string]any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "quic-go peer:", err)
		os.Exit(1)
	}
}

// Block i of the payload is i, little-endian, and 1016 constant bytes.
func payload(n int) []byte {
	made := make([]byte, (n+block-1)/block*block)
	for i := range made {
		made[i] = byte(i % block * 7)
	}
	for i := 0; i < len(made); i += block {
		binary.LittleEndian.PutUint64(made[i:], uint64(i/block))
	}
	return made[:n]
}

func cpu() float64 {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func tlsConfig(serve bool) *tls.Config {
	text, err := os.ReadFile(*certificate)
	check(err)
	if serve {
		pair, err := tls.LoadX509KeyPair(*certificate, *key)
		check(err)
		return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{*alpn}, MinVersion: tls.VersionTLS13}
	}
	pinned, _ := pem.Decode(text)
	// The only certificate that counts: that it is the owner's is proven by the handshake's signature all the same.
	return &tls.Config{
		NextProtos: []string{*alpn}, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true,
		VerifyPeerCertificate: func(shown [][]byte, _ [][]*x509.Certificate) error {
			if pinned == nil || len(shown) != 1 || !bytes.Equal(shown[0], pinned.Bytes) {
				return errors.New("another certificate")
			}
			return nil
		},
	}
}

// Dials, or waits for a caller.
func connect(ctx context.Context, serve bool) *quic.Conn {
	config := &quic.Config{InitialPacketSize: uint16(*datagram), DisablePathMTUDiscovery: true}
	if !serve {
		say(map[string]any{"event": "ready"})
		socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		check(err)
		remote, err := net.ResolveUDPAddr("udp4", *address)
		check(err)
		transport := &quic.Transport{Conn: socket, ConnectionIDLength: 8} // DialAddr would have none
		connection, err := transport.Dial(ctx, remote, tlsConfig(false), config)
		check(err)
		return connection
	}
	listener, err := quic.ListenAddr(*address, tlsConfig(true), config)
	check(err)
	_, port, _ := strings.Cut(listener.Addr().String(), ":")
	say(map[string]any{"event": "ready", "port": json.Number(port)})
	connection, err := listener.Accept(ctx)
	check(err)
	return connection
}

// Sends a byte on a stream of its own.
func tell(ctx context.Context, connection *quic.Conn) {
	stream, err := connection.OpenUniStreamSync(ctx)
	check(err)
	_, err = stream.Write([]byte{'!'})
	check(err)
	check(stream.Close())
}

// Waits for such a byte.
func hear(ctx context.Context, connection *quic.Conn) {
	stream, err := connection.AcceptUniStream(ctx)
	check(err)
	_, err = io.ReadAll(stream)
	check(err)
}

func write(to io.WriteCloser, data []byte) {
	for at := 0; at < len(data); at += chunk {
		_, err := to.Write(data[at:min(at+chunk, len(data))])
		check(err)
	}
	check(to.Close())
}

// Reads into memory of its own, to the end of the stream; what does not fit is not kept.
func read(from io.Reader, into []byte) int {
	n := 0
	for {
		var spare [1]byte
		space := into[n:]
		if len(space) == 0 {
			space = spare[:]
		}
		got, err := from.Read(space)
		n += got
		if errors.Is(err, io.EOF) {
			return n
		}
		check(err)
	}
}

func transfer(ctx context.Context, job string, connection *quic.Conn, data, got []byte) int {
	switch job {
	case "send":
		stream, err := connection.OpenUniStreamSync(ctx)
		check(err)
		write(stream, data)
	case "receive":
		stream, err := connection.AcceptUniStream(ctx)
		check(err)
		return read(stream, got)
	case "ask":
		stream, err := connection.OpenStreamSync(ctx)
		check(err)
		go write(stream, data)
		return read(stream, got)
	case "echo":
		stream, err := connection.AcceptStream(ctx)
		check(err)
		n, err := io.CopyBuffer(struct{ io.Writer }{stream}, struct{ io.Reader }{stream}, make([]byte, chunk))
		check(err)
		check(stream.Close())
		return int(n)
	default:
		check(errors.New("no such job: " + job))
	}
	return 0
}

// The end that has got all says so; the other closes. That may get lost.
func finish(ctx context.Context, receives bool, connection *quic.Conn) {
	if !receives {
		check(connection.CloseWithError(0, ""))
		return
	}
	tell(ctx, connection)
	select {
	case <-connection.Context().Done():
	case <-time.After(farewell):
		return
	}
	var closed *quic.ApplicationError
	if cause := context.Cause(connection.Context()); !errors.As(cause, &closed) || closed.ErrorCode != 0 {
		check(cause)
	}
}

func main() {
	if len(os.Args) < 3 {
		check(errors.New("serve or dial, then send, receive, ask or echo"))
	}
	serve, job := os.Args[1] == "serve", os.Args[2]
	check(flag.CommandLine.Parse(os.Args[3:]))
	if *suite == "chacha20" && !strings.Contains(os.Getenv("GODEBUG"), hideAES) {
		program, err := os.Executable()
		check(err)
		check(syscall.Exec(program, os.Args, append(os.Environ(), "GODEBUG="+hideAES)))
	}
	if *gso == "off" {
		check(os.Setenv("QUIC_GO_DISABLE_GSO", "true"))
	}
	if *updates > 0 {
		firstKeyUpdate = *updates
		setKeyUpdate(*updates)
	}
	var data, got []byte
	if job == "send" || job == "ask" {
		data = payload(*total)
	}
	receives := job == "receive" || job == "ask"
	if receives {
		got = bytes.Repeat([]byte{1}, *total)
	}
	ctx := context.Background()
	connection := connect(ctx, serve)
	tell(ctx, connection)
	hear(ctx, connection)
	usedBefore, began := cpu(), time.Now()
	n := transfer(ctx, job, connection, data, got)
	if !receives {
		hear(ctx, connection)
	}
	seconds, used := time.Since(began).Seconds(), cpu()
	finish(ctx, receives, connection)
	digest := sha256.Sum256(got[:min(n, len(got))])
	state := connection.ConnectionState()
	say(map[string]any{
		"event": "done", "bytes": n, "sha256": hex.EncodeToString(digest[:]), "cpu": used - usedBefore, "seconds": seconds,
		"library": "quic-go " + quicVersion(), "suite": tls.CipherSuiteName(state.TLS.CipherSuite), "gso": state.GSO,
		"datagram": *datagram,
	})
}

func quicVersion() string {
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		if module.Path == "github.com/quic-go/quic-go" {
			return module.Version
		}
	}
	return ""
}
