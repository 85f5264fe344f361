// A peer that speaks muxrpc as go-ssb does, for the tests of ssbfast. It dials a room and does what lines of JSON say:
//
//	{"n": 1, "do": "async" | "text" | "source", "name": ["room", "metadata"], "args": [], "take": 2}
//
// Each is answered by {"n": 1, "value": …} or {"n": 1, "error": "…"}. tunnel.connect is served: it echoes.
//
//	peer HOST:PORT ROOM-KEY NETWORK-KEY SEED      (keys in base64)
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net"
	"os"
	"sync"

	"github.com/ssbc/go-muxrpc/v2"
	"github.com/ssbc/go-netwrap"
	"github.com/ssbc/go-secretstream"
	"github.com/ssbc/go-secretstream/secrethandshake"
)

type order struct {
	N    int           `json:"n"`
	Do   string        `json:"do"`
	Name []string      `json:"name"`
	Args []interface{} `json:"args"`
	Take int           `json:"take"`
}

type echo struct{}

func (echo) Handled(m muxrpc.Method) bool {
	return m.String() == "tunnel.connect" || m.String() == "manifest"
}
func (echo) HandleConnect(ctx context.Context, e muxrpc.Endpoint) {}

func (echo) HandleCall(ctx context.Context, req *muxrpc.Request) {
	if req.Method.String() == "manifest" {
		req.Return(ctx, json.RawMessage(`{"manifest":"sync","tunnel":{"connect":"duplex"}}`))
		return
	}
	source, err := req.ResponseSource()
	check(err)
	sink, err := req.ResponseSink()
	check(err)
	sink.SetEncoding(muxrpc.TypeBinary)
	for source.Next(ctx) {
		data, err := source.Bytes()
		if err != nil {
			break
		}
		if _, err := sink.Write(data); err != nil {
			break
		}
	}
	sink.Close()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func bytesOf(text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	check(err)
	return data
}

func main() {
	address, err := net.ResolveTCPAddr("tcp", os.Args[1])
	check(err)
	secret := ed25519.NewKeyFromSeed(bytesOf(os.Args[4]))
	pair, err := secrethandshake.NewKeyPair(secret.Public().(ed25519.PublicKey), secret)
	check(err)
	client, err := secretstream.NewClient(*pair, bytesOf(os.Args[3]))
	check(err)
	conn, err := netwrap.Dial(address, client.ConnWrapper(bytesOf(os.Args[2])))
	check(err)
	ctx := context.Background()
	peer := muxrpc.Handle(muxrpc.NewPacker(conn), echo{}, muxrpc.WithContext(ctx))
	var printing sync.Mutex
	tell := func(line map[string]interface{}) {
		printing.Lock()
		defer printing.Unlock()
		check(json.NewEncoder(os.Stdout).Encode(line))
	}
	go func() {
		err := peer.(muxrpc.Server).Serve()
		tell(map[string]interface{}{"event": "closed", "clean": err == nil})
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order
		check(json.Unmarshal(lines.Bytes(), &o))
		go func() {
			value, err := carryOut(ctx, peer, o)
			if err != nil {
				tell(map[string]interface{}{"n": o.N, "error": err.Error()})
			} else {
				tell(map[string]interface{}{"n": o.N, "value": value})
			}
		}()
	}
}

func carryOut(ctx context.Context, peer muxrpc.Endpoint, o order) (interface{}, error) {
	if o.Do == "async" {
		var answer anything
		err := peer.Async(ctx, &answer, muxrpc.TypeJSON, o.Name, o.Args...)
		return answer.value, err
	}
	if o.Do == "text" {
		var answer string
		err := peer.Async(ctx, &answer, muxrpc.TypeString, o.Name, o.Args...)
		return answer, err
	}
	source, err := peer.Source(ctx, muxrpc.TypeJSON, o.Name, o.Args...)
	if err != nil {
		return nil, err
	}
	items := []interface{}{}
	for (o.Take == 0 || len(items) < o.Take) && source.Next(ctx) {
		err := source.Reader(func(r io.Reader) error {
			var item interface{}
			data, err := io.ReadAll(r)
			if err == nil {
				err = json.NewDecoder(bytes.NewReader(data)).Decode(&item)
			}
			items = append(items, item)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return items, source.Err()
}

// What an async call answers, whatever JSON it is.
type anything struct{ value interface{} }

func (a *anything) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &a.value) }
