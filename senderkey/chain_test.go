package senderkey

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/internal/cbc"
	"github.com/sotto-im/sotto/internal/curve"
	"github.com/sotto-im/sotto/internal/kdf"
)

func eachFamily(t *testing.T, f func(t *testing.T, family Family)) {
	for name, family := range families {
		t.Run(name, func(t *testing.T) { f(t, family) })
	}
}

func TestConversation(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, r := newPair(t, f)
		require.Zero(t, receive(t, r, send(t, c, ""), ""))
		for n := range 70 {
			require.Zero(t, receive(t, r, send(t, c, string(make([]byte, n))), string(make([]byte, n))))
		}
		messages := sendN(t, c, 10)
		require.Equal(t, uint32(4), receive(t, r, messages[4], number(4)))
		require.Zero(t, receive(t, r, messages[1], number(1)))
		r = reload(t, r)
		require.Equal(t, uint32(4), receive(t, r, messages[9], number(9)))
		for _, i := range []int{0, 2, 3, 8, 7, 6, 5} {
			require.Zero(t, receive(t, r, messages[i], number(i)))
			refuse(t, r, messages[i], ErrDuplicate)
			r = reload(t, r)
		}
		require.Empty(t, r.load().chains[0].skipped)
	})
}

// R-11.3-1: the bytes of both forms, written out.
func TestWireForms(t *testing.T) {
	key := privateOf(9)
	public := key.Public()
	ck := [32]byte{7}
	id := DistributionID{0xaa, 15: 0xbb}
	for f, want := range map[Family]struct{ distribution, head []byte }{
		Signal: {
			concat([]byte{0x33, 0x0a, 16}, id[:], []byte{0x10, 0, 0x18, 0, 0x22, 32}, ck[:], []byte{0x2a, 33, 5}, public[:]),
			concat([]byte{0x33, 0x0a, 16}, id[:], []byte{0x10, 0, 0x18, 0, 0x22, 16}),
		},
		WhatsApp: {
			concat([]byte{0x33, 0x08, 0, 0x10, 0, 0x1a, 32}, ck[:], []byte{0x22, 33, 5}, public[:]),
			[]byte{0x33, 0x08, 0, 0x10, 0, 0x1a, 16},
		},
	} {
		st := fresh{0, ck, key}.chain(f, id)
		c := newChain(&st)
		d := distributionOf(t, c)
		require.Equal(t, want.distribution, record(t, d))
		require.Equal(t, f.wireID(id), d.ID())
		m := send(t, c, "")
		require.Equal(t, want.head, m[:len(want.head)])
		require.Len(t, m, len(want.head)+16+64)

		// R-11.2-2, R-11.4-1: the keys and the signature, from SPEC.md.
		seed := kdf.MessageSeed(ck)
		keys := kdf.ExpandGroupSeed(&seed)
		plaintext, ok := cbc.Decrypt(&keys.Cipher, &keys.IV, make([]byte, 16), bytes.Clone(m[len(want.head):len(m)-64]))
		require.True(t, ok)
		require.Empty(t, plaintext)
		require.True(t, public.Verify(m[:len(m)-64], m[len(m)-64:]))
		require.Equal(t, sendingChainKey{chainKey{kdf.ChainKey(ck), 1}}, c.load().ck)
	}
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// R-11.3-2: what is in the other family's form is malformed, and a receiver of
// the other family refuses a distribution.
func TestFamiliesDoNotMix(t *testing.T) {
	for f, other := range map[Family]Family{Signal: WhatsApp, WhatsApp: Signal} {
		c, r := newPair(t, f)
		m := send(t, c, "message")
		d := distributionOf(t, c)
		_, err := ParseMessage(m, other)
		require.Equal(t, ErrMalformed, err)
		_, err = ParseDistribution(record(t, d), other)
		require.Equal(t, ErrMalformed, err)
		require.Equal(t, ErrVersion, NewReceiver(other).Process(d))
		_, err = ParseReceiver(record(t, r), other)
		require.Equal(t, ErrCorrupt, err)
		otherReceiver := NewReceiver(other)
		refuse(t, otherReceiver, m, ErrMalformed)
		receive(t, r, m, "message")
	}
}

// R-11.2-1: all that is random in a chain is drawn, and a chain ID has 31 bits.
func TestFreshChains(t *testing.T) {
	var ids uint32
	seen := map[any]bool{}
	for range 200 {
		st := NewChain(Signal, testID).load()
		for _, v := range []any{st.id, st.ck.key, st.signing, st.public} {
			require.False(t, seen[v])
			seen[v] = true
		}
		require.Equal(t, st.signing.Public(), st.public)
		require.Zero(t, st.ck.iteration)
		ids |= st.id
	}
	require.Equal(t, uint32(math.MaxInt32), ids)
}

// R-11.4-2: a chain ends.
func TestChainExhausted(t *testing.T) {
	c, _ := newPair(t, Signal)
	c.load().ck.iteration = math.MaxUint32 - 1
	r := NewReceiver(Signal)
	process(t, r, distributionOf(t, c))
	last := send(t, c, "last")
	receive(t, r, last, "last")
	before := record(t, c)
	out, err := c.Encrypt([]byte("dst"), []byte("one more"))
	require.Equal(t, ErrChainExhausted, err)
	require.Equal(t, "dst", string(out))
	require.Equal(t, before, record(t, c))
	process(t, NewReceiver(Signal), distributionOf(t, c))
}

func TestAliasing(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, r := newPair(t, f)
		// The plaintext may stand where the message goes, and anywhere behind.
		for _, at := range []int{0, 1, 3, 10, 40, 60, 100} {
			buf := make([]byte, 400)
			copy(buf, "dst")
			text := bytes.Repeat([]byte{byte(at)}, 50)
			copy(buf[at+3:], text)
			m, err := c.Encrypt(buf[:3], buf[at+3:at+53])
			require.NoError(t, err)
			require.Equal(t, "dst", string(m[:3]))
			// The message may stand where the plaintext goes.
			got, _, err := r.Decrypt(m[:3], m[3:])
			require.NoError(t, err)
			require.Equal(t, "dst"+string(text), string(got))
		}
		m := send(t, c, "message")
		given := bytes.Clone(m)
		roomy := append(make([]byte, 0, 1000), m...)
		receive(t, r, roomy, "message")
		require.Equal(t, given, roomy[:len(m)])
		require.Equal(t, make([]byte, 1000-len(m)), roomy[len(m):1000])
	})
}

// R-11.4-5, R10: one error for whatever is wrong with the cryptography.
func TestPaddingUnderATrueSignature(t *testing.T) {
	c, r := newPair(t, Signal)
	raw := bytes.Repeat([]byte{0xaa}, 16)
	for last := range 256 {
		raw[15] = byte(last)
		m := signed(t, c, func(f *fields) { f.ciphertext = sealed(c, raw) })
		if last == 1 {
			receive(t, newReceiver(new(*r.load())), m, string(raw[:15]))
			continue
		}
		refuse(t, r, m, ErrAuthentication)
	}
	for n := range 33 {
		if n%16 != 0 || n == 0 {
			refuse(t, r, signed(t, c, func(f *fields) {
				f.ciphertext = f.ciphertext[:0]
				f.ciphertext = append(f.ciphertext, make([]byte, n)...)
			}), ErrAuthentication)
		}
	}
	backing := make([]byte, 500)
	secret := bytes.Repeat([]byte("plaintext"), 16)[:128] // no padding
	_, _, err := r.Decrypt(backing[:0], signed(t, c, func(f *fields) { f.ciphertext = sealed(c, secret) }))
	require.Equal(t, ErrAuthentication, err)
	require.NotContains(t, string(backing), "plaintext", "nothing stays behind dst")
	receive(t, r, send(t, c, "genuine"), "genuine")
}

// R-11.3-3: the low nibble is whatever it is, the high one 3.
func TestVersions(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, r := newPair(t, f)
		for v := range 256 {
			m := signed(t, c, func(f *fields) { f.version = byte(v) })
			d := record(t, distributionOf(t, c))
			d[0] = byte(v)
			_, err := ParseDistribution(d, f)
			if v>>4 == 3 {
				require.NoError(t, err)
				receive(t, newReceiver(new(*r.load())), m, "plaintext")
				continue
			}
			require.Equal(t, ErrVersion, err)
			refuse(t, r, m, ErrVersion)
		}
	})
}

// R-11.3-1: nothing may be missing. Unknown fields pass, under the signature.
func TestRequiredFields(t *testing.T) {
	eachFamily(t, func(t *testing.T, f Family) {
		c, r := newPair(t, f)
		first := f.wireNumber(2)
		if f == Signal {
			first = 1
		}
		whole := record(t, distributionOf(t, c))
		unknown := []byte{0x52, 1, 'x'} // field 10
		_, err := ParseDistribution(append(bytes.Clone(whole), unknown...), f)
		require.NoError(t, err)
		for n := first; n <= f.wireNumber(5); n++ {
			cut := withoutField(t, whole[1:], n)
			_, err := ParseDistribution(append([]byte{0x33}, cut...), f)
			require.Equal(t, ErrMalformed, err, "field %d", n)
		}
		m := send(t, c, "message")
		body := m[1 : len(m)-64]
		for n := first; n <= f.wireNumber(4); n++ {
			cut := withoutField(t, body, n)
			_, err := ParseMessage(concat([]byte{0x33}, cut, m[len(m)-64:]), f)
			require.Equal(t, ErrMalformed, err, "field %d", n)
		}
		for n := range 1 + 64 {
			_, err := ParseMessage(m[len(m)-n:], f)
			require.Equal(t, ErrMalformed, err)
		}
		_, err = ParseMessage(append([]byte{0x23}, m[len(m)-64:]...), f)
		require.Equal(t, ErrVersion, err, "a version byte and a signature")
		_, err = ParseDistribution(nil, f)
		require.Equal(t, ErrMalformed, err)
		receive(t, r, m, "message")
		refuse(t, r, append(bytes.Clone(m[:len(m)-64]), append(unknown, m[len(m)-64:]...)...), ErrAuthentication)
		receive(t, r, signed(t, c, func(*fields) {}, unknown...), "plaintext")
	})
}

// withoutField cuts field n, 1 to 15, out of a protobuf of varints below 2^63
// and byte strings.
func withoutField(t *testing.T, b []byte, n int) (out []byte) {
	t.Helper()
	for len(b) > 0 {
		end := 1
		for b[end]&0x80 != 0 {
			end++
		}
		end++
		if b[0]&7 == 2 {
			end += int(b[1])
		}
		if int(b[0]>>3) != n {
			out = append(out, b[:end]...)
		}
		b = b[end:]
	}
	return out
}

// H01, H06: weak keys are refused where they come in.
func TestInvalidSigningKey(t *testing.T) {
	c, _ := newPair(t, Signal)
	whole := record(t, distributionOf(t, c))
	for _, u := range []curve.PublicKey{{}, {1}, {31: 0x80}} {
		b := append(bytes.Clone(whole[:len(whole)-32]), u[:]...)
		_, err := ParseDistribution(b, Signal)
		require.Equal(t, ErrMalformed, err)
	}
}

func TestUninitialized(t *testing.T) {
	for _, c := range []*Chain{nil, {}} {
		out, err := c.Encrypt([]byte("dst"), nil)
		require.Equal(t, ErrUninitialized, err)
		require.Equal(t, "dst", string(out))
		_, err = c.Distribution()
		require.Equal(t, ErrUninitialized, err)
		_, err = c.AppendBinary(nil)
		require.Equal(t, ErrUninitialized, err)
	}
	c, good := newPair(t, Signal)
	for _, d := range []*Distribution{nil, {}} {
		require.Equal(t, ErrUninitialized, good.Process(d))
		require.Zero(t, d.ID())
		require.Zero(t, d.ChainID())
		require.Zero(t, d.Iteration())
		_, err := d.AppendBinary(nil)
		require.Equal(t, ErrUninitialized, err)
	}
	for _, r := range []*Receiver{nil, {}} {
		out, _, err := r.Decrypt([]byte("dst"), send(t, c, ""))
		require.Equal(t, ErrUninitialized, err)
		require.Equal(t, "dst", string(out))
		require.Equal(t, ErrUninitialized, r.Process(distributionOf(t, c)))
		require.Equal(t, ErrUninitialized, r.ImportRecord(nil, testID))
		_, err = r.AppendBinary(nil)
		require.Equal(t, ErrUninitialized, err)
		_, err = r.AppendRecord(nil, testID)
		require.Equal(t, ErrUninitialized, err)
	}
	for _, s := range []*Sender{nil, {}} {
		sent, err := s.Encrypt(Roster{Members: members(1)}, testTime, nil)
		require.Equal(t, ErrUninitialized, err)
		require.Nil(t, sent)
		require.Equal(t, ErrUninitialized, s.Delivered(testID))
		require.Equal(t, ErrUninitialized, s.Lacks(testID))
		_, err = s.AppendBinary(nil)
		require.Equal(t, ErrUninitialized, err)
	}
}

// Of two calls that started from one state, one wins.
func TestConcurrentUse(t *testing.T) {
	c, r := newPair(t, Signal)
	st := c.load()
	send(t, c, "winner")
	require.False(t, c.box.Replace(st, st))

	old := r.load()
	receive(t, r, signed(t, newChain(new(*c.load())), func(*fields) {}), "plaintext")
	require.Equal(t, ErrConcurrentUse, r.commit(old, old))

	s := NewSender(Config{})
	was := s.load()
	_, err := s.Encrypt(Roster{Members: members(1)}, testTime, nil)
	require.NoError(t, err)
	_, err = s.encrypt(was, Roster{Members: members(1)}, testTime, nil, drawNamed)
	require.Equal(t, ErrConcurrentUse, err)
}

// R21: what is used, replaced or evicted is erased, and nothing else.
func TestSecretsErased(t *testing.T) {
	c, r := newPair(t, Signal)
	messages := sendN(t, c, 10)
	old := c.load()
	send(t, c, "one more")
	require.Zero(t, *old)

	receive(t, r, messages[9], number(9))
	old2 := r.load()
	stored := old2.chains[0].skipped
	require.Len(t, stored, 9)
	receive(t, r, messages[4], number(4))
	require.Zero(t, *old2)
	require.Equal(t, make([]skippedKey, 9), stored, "the list that held the key; the others moved")
	stored = r.load().chains[0].skipped
	require.Len(t, stored, 8)
	for range MaxChains {
		require.NotZero(t, stored[0])
		process(t, r, distributionOf(t, NewChain(Signal, testID)))
	}
	require.Equal(t, make([]skippedKey, 8), stored, "keys of a chain that had to go")

	s := NewSender(Config{})
	_, err := s.Encrypt(Roster{Members: members(1)}, testTime, nil)
	require.NoError(t, err)
	was := s.load()
	_, err = s.Encrypt(Roster{Members: members(1)}, testTime, nil)
	require.NoError(t, err)
	require.Zero(t, *was)
}
