package conformance

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	sottopeer "github.com/sotto-im/sotto/testvectors/internal/peer"
)

// object is a JSON object.
type object = map[string]any

// A client asks a peer, one request at a time.
type client struct {
	peer
	in   io.Writer
	out  *bufio.Reader
	kill func()
	id   int
	gone error // why it answers no more
}

// A result is what the commands that are used here answer.
type result struct {
	Type                           int
	Ciphertext, Plaintext, Message string
	IdentityPublic, Change         string
	Record                         *string
	ChainID, Iteration             uint32
	all                            json.RawMessage
}

// patience is how long a peer may take for one request.
const patience = 30 * time.Second

// do returns the result, or the name of the error with which the peer refused. A
// peer that does neither fails the test and is not asked again.
func (c *client) do(t testing.TB, cmd string, args object) (r result, refused string) {
	t.Helper()
	require.NoError(t, c.gone)
	c.id++
	args["id"], args["cmd"] = c.id, cmd
	line, err := json.Marshal(args)
	require.NoError(t, err)
	late := time.AfterFunc(patience, c.kill)
	defer late.Stop()
	var a struct {
		ID     int
		OK     *bool
		Result json.RawMessage
		Error  struct{ Name, Message string }
	}
	if _, c.gone = c.in.Write(append(line, '\n')); c.gone == nil {
		if line, c.gone = c.out.ReadBytes('\n'); c.gone == nil {
			c.gone = json.Unmarshal(line, &a)
		}
	}
	if c.gone == nil && (a.ID != c.id || a.OK == nil || !*a.OK && a.Error.Name == "") {
		c.gone = errors.New("not an answer")
	}
	if c.gone != nil {
		c.gone = fmt.Errorf("%s: %s: %w: %.300s", c.name, cmd, c.gone, line)
		c.kill()
	}
	require.NoError(t, c.gone)
	if !*a.OK {
		return r, a.Error.Name
	}
	require.NoError(t, json.Unmarshal(a.Result, &r))
	r.all = a.Result
	return r, ""
}

// start starts a peer, which ends at the end of its input: with this process.
func start(p peer) (*client, error) {
	cmd := exec.Command("sh", "-c", "exec "+p.command)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &client{peer: p, in: in, out: bufio.NewReader(out), kill: func() { cmd.Process.Kill() }}
	late := time.AfterFunc(patience, c.kill)
	defer late.Stop()
	ready, err := c.out.ReadString('\n')
	if err == nil && !strings.Contains(ready, `"ready":true`) {
		err = errors.New(ready)
	}
	return c, err
}

// startOurs starts our own peer in this process, where the fuzzer sees which code
// an input reaches.
func startOurs(p peer) *client {
	requests, in := io.Pipe()
	out, answers := io.Pipe()
	go func() { answers.CloseWithError(sottopeer.Serve(requests, answers, p.family, true)) }()
	return &client{peer: p, in: in, out: bufio.NewReader(out), kill: func() { in.Close() }}
}

// clients are the peers that run, by name. Each serves all tests and inputs of
// this process, one after the other.
var clients = struct {
	sync.Mutex
	m map[string]*client
}{m: map[string]*client{}}

// clientOf is the client of a peer, which is started if it is not there, or no
// more.
func clientOf(t testing.TB, p peer) *client {
	clients.Lock()
	defer clients.Unlock()
	c := clients.m[p.name]
	if c != nil && c.gone == nil {
		return c
	}
	if p.command == "" {
		c = startOurs(p)
	} else {
		var err error
		c, err = start(p)
		require.NoError(t, err)
	}
	clients.m[p.name] = c
	return c
}
