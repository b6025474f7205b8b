package peer

import (
	"encoding/hex"
	"runtime/debug"
	"slices"
)

// A command does what a request asks. It takes all its arguments, closes them,
// and only then does anything; on an error the stores are what they were.
type command struct {
	name string
	run  func(p *peer, store string, a *args) (any, error)
}

// commands is all that this peer does. It is a function because version lists
// it.
func commands() []command {
	return []command{
		{"version", runVersion},
		{"newIdentity", newIdentity},
		{"makeBundle", ofParty(makeBundle)},
		{"processBundle", ofParty(processBundle)},
		{"encrypt", ofParty(encrypt)},
		{"decrypt", ofParty(decrypt)},
		{"exportSession", ofParty(exportSession)},
		{"importSession", ofParty(importSession)},
		{"deleteSession", ofParty(deleteSession)},
		{"archiveSession", ofParty(archiveSession)},
		{"sessionInfo", ofParty(sessionInfo)},
		{"getIdentity", ofParty(getIdentity)},
		{"saveIdentity", ofParty(saveIdentity)},
		{"sign", sign},
		{"verify", pure(verify)},
		{"agree", pure(agree)},
		{"fingerprint", pure(fingerprint)},
		{"parseSignalMessage", pure(runParseSignalMessage)},
		{"parsePreKeySignalMessage", pure(runParsePreKeySignalMessage)},
		{"senderKeyDistributionCreate", ofParty(senderKeyDistributionCreate)},
		{"senderKeyDistributionProcess", ofParty(senderKeyDistributionProcess)},
		{"groupEncrypt", ofParty(groupEncrypt)},
		{"groupDecrypt", ofParty(groupDecrypt)},
		{"exportSenderKey", ofParty(exportSenderKey)},
		{"importSenderKey", ofParty(importSenderKey)},
		{"parseSenderKeyMessage", runParseSenderKeyMessage},
	}
}

// ofParty is a command on the stores of a party.
func ofParty(f func(s *party, a *args) (any, error)) func(*peer, string, *args) (any, error) {
	return func(p *peer, store string, a *args) (any, error) {
		s, err := p.party(store)
		if err != nil {
			return nil, err
		}
		return f(s, a)
	}
}

// pure is a command without a party.
func pure(f func(a *args) (any, error)) func(*peer, string, *args) (any, error) {
	return func(_ *peer, _ string, a *args) (any, error) { return f(a) }
}

func (p *peer) party(store string) (*party, error) {
	s, ok := p.parties[store]
	if !ok {
		return nil, badRequest("store %.40q has no identity: newIdentity comes first", store)
	}
	return s, nil
}

// answer does what one line asks.
func (p *peer) answer(line []byte) answer {
	a := parseArgs(line, p.family)
	id := a.id()
	result, err := p.run(a)
	if err != nil {
		return refuse(id, err)
	}
	return answer{ID: id, OK: true, Result: result}
}

func (p *peer) run(a *args) (any, error) {
	name, store := a.string("cmd"), a.stringOr("store", "main")
	if a.err != nil {
		return nil, a.err
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return nil, badRequest("unknown command %.40q", name)
	}
	return all[i].run(p, store, a)
}

// none is the result of a command that has nothing to say.
type none struct{}

// nullHex is hex, and JSON's null for nil.
func nullHex(b []byte) *string {
	if b == nil {
		return nil
	}
	return new(hex.EncodeToString(b))
}

func runVersion(_ *peer, _ string, a *args) (any, error) {
	if err := a.close(); err != nil {
		return nil, err
	}
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return struct {
		Package  string   `json:"package"`
		Version  string   `json:"version"`
		Commands []string `json:"commands"`
	}{"github.com/sotto-im/sotto", version(), names}, nil
}

// version is what the go command knows of the build.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
