package sesame

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// R-10.10-9, R-10.2-7: what receives for a group, beside all others: as if one
// had come after the other.
func TestGroupInterleaved(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	g := groupOf("friends", bob)
	steps := map[string]step{}
	for i := range 2 {
		m := alice.writes(g, 0, fmt.Sprint("message ", i))
		steps[fmt.Sprint("message ", i)] = func(a *app, tx Tx) (string, error) {
			r, err := a.DecryptGroup(tx, alice.at, uint64(i), "", m.Ciphertext)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s %v %d", r.Plaintext, r.Err, r.Missing), nil
		}
		steps[fmt.Sprint("distribution ", i)] = func(a *app, tx Tx) (said string, err error) {
			r, err := a.Decrypt(tx, alice.at, m.to(bob).Type, m.to(bob).Bytes)
			if err != nil || r.Err != nil {
				return fmt.Sprint(r != nil && r.Err != nil), err
			}
			_, d, _ := unwrap(r.Plaintext)
			released, err := a.ProcessDistribution(tx, r, "friends", d)
			for _, r := range released {
				said += fmt.Sprintf("%d %s %v %d ", r.Timestamp, r.Plaintext, r.Err, r.Missing)
			}
			return said, err
		}
	}
	steps["forget group"] = func(a *app, tx Tx) (string, error) { return "", a.ForgetGroup(tx, "friends") }
	require.Greater(t, bob.interleave(alice, steps), 100)
	bob.distributed(alice, alice.writes(g, 0, ""))
	require.Greater(t, bob.interleave(alice, steps), 100)
}

// R-10.10-9: a message that is held while its distribution comes conflicts with
// it, also if prekeys are published in between: that must not delete the row of
// what is held, or it looks as if it had never been there.
func TestHeldDuringDistributionAndPublish(t *testing.T) {
	all, _ := people(t, "bob", "alice")
	bob, alice := all[0], all[1]
	m := alice.writes(groupOf("friends", bob), 0, "message")
	err := bob.store.Do(func(tx Tx) error {
		r, err := bob.DecryptGroup(tx, alice.at, 0, "", m.Ciphertext)
		require.NoError(t, err)
		require.Equal(t, ErrHeld, r.Err)
		bob.takes(alice, m.to(bob))
		bob.publish()
		return nil
	})
	require.Equal(t, ErrConflict, err)
	bob.readsGroup(alice, "", m, "message")
}
