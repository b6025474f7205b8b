package sqlkv

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
)

// The databases themselves are tested in the module sqltest, which has their
// drivers.

type postgresError string

func (e postgresError) Error() string    { return "ERROR: " + string(e) }
func (e postgresError) SQLState() string { return string(e) }

type sqliteError int

func (e sqliteError) Error() string { return "database is locked" }
func (e sqliteError) Code() int     { return int(e) }

func TestConflict(t *testing.T) {
	for err, want := range map[error]bool{
		nil:                     false,
		errors.New("disk full"): false,
		sesame.ErrConflict:      true,
		sesame.ErrSealed:        false,
		postgresError("40001"):  true,
		postgresError("40P01"):  true,
		postgresError("55P03"):  true,
		postgresError("23505"):  false, // unique violation: in the application's own rows
		postgresError("08006"):  false, // connection failure: the commit may be applied
		sqliteError(5):          true,
		sqliteError(517):        true, // busy, snapshot
		sqliteError(6):          true,
		sqliteError(13):         false, // full
		sqliteError(21):         false, // misuse
		sqliteError(11):         false, // corrupt
	} {
		require.Equal(t, want, Conflict(err), "%v", err)
		if err != nil {
			require.Equal(t, want, Conflict(fmt.Errorf("wrapped: %w", err)), "%v", err)
		}
	}
	err := error(conflict{postgresError("40001")})
	require.ErrorIs(t, err, sesame.ErrConflict)
	require.ErrorIs(t, err, postgresError("40001"))
	require.Equal(t, "ERROR: 40001", err.Error())
}

// R-10.1-10.
func TestNewRevision(t *testing.T) {
	seen := map[int64]bool{}
	var or, and int64 = 0, -1
	for range 1000 {
		rev := newRevision()
		require.Positive(t, rev)
		require.False(t, seen[rev])
		seen[rev] = true
		or, and = or|rev, and&rev
	}
	require.Equal(t, int64(1<<63-1), or, "all 63 bits are used")
	require.Zero(t, and)
}

func TestSuccessor(t *testing.T) {
	for prefix, want := range map[string][]byte{
		"": nil, "\xff": nil, "\xff\xff": nil, "a": []byte("b"), "a\xff": []byte("b"), "sotto/": []byte("sotto0"),
		"\x00": []byte("\x01"), "a\xfe\xff\xff": []byte("a\xff"),
	} {
		require.Equal(t, want, successor(prefix), "%q", prefix)
	}
}
