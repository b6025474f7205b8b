package sqltest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sotto-im/sotto/sesame"
)

// The rows that a child moves together.
var together = []string{"sotto/n/a", "sotto/n/b", "sotto/n/c"}

// child is a process of its own: this test's binary, run again. It waits for a
// line on its standard input, then adds 1 to each row in one transaction, over
// and over, and prints each sum once it is committed.
func child(job string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	rounds, err := strconv.Atoi(job)
	fail(err)
	s := source{os.Getenv("SQLTEST_DRIVER"), os.Getenv("SQLTEST_DSN")}
	db, err := s.open()
	fail(err)
	fail(db.Ping())
	fmt.Println("ready")
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	fail(err)
	for range rounds {
		var n int
		for err = sesame.ErrConflict; errors.Is(err, sesame.ErrConflict); {
			err = (&store{db: db}).Do(func(tx sesame.Tx) (err error) {
				n, err = increment(tx)
				return err
			})
		}
		fail(err)
		fmt.Println(n)
	}
	os.Exit(0)
}

func increment(tx sesame.Tx) (n int, err error) {
	for _, key := range together {
		value, rev, err := tx.Get(key)
		if err != nil {
			return 0, err
		}
		n = 0
		if rev != 0 {
			if n, err = strconv.Atoi(strings.TrimSpace(string(value))); err != nil {
				return 0, err
			}
		}
		n++
		// Big rows, so that a commit is many pages.
		if err := tx.Put(key, fmt.Appendf(nil, "%d%20000s", n, ""), rev); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// A process runs child.
type process struct {
	cmd   *exec.Cmd
	stdin io.Writer
	out   *bufio.Scanner
}

func start(t *testing.T, s source, rounds int) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := &process{cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), "SQLTEST_CHILD="+strconv.Itoa(rounds), "SQLTEST_DRIVER="+s.driver, "SQLTEST_DSN="+s.dsn)
	p.cmd.Stderr = os.Stderr
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(stdout)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	require.True(t, p.out.Scan() && p.out.Text() == "ready")
	return p
}

func (p *process) begin(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(p.stdin, "go\n")
	require.NoError(t, err)
}

// stored opens the database anew and returns what all rows say.
func stored(t *testing.T, s source) (n int) {
	t.Helper()
	db, err := s.open()
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, (&store{db: db}).Do(func(tx sesame.Tx) error {
		values := map[string]bool{}
		for _, key := range together {
			value, _, err := tx.Get(key)
			if err != nil {
				return err
			}
			values[string(value)] = true
			n, _ = strconv.Atoi(strings.TrimSpace(string(value)))
		}
		require.Len(t, values, 1, "a transaction is there in part")
		return nil
	}))
	return n
}

// Two processes write the same rows: no sum comes twice, and none is lost
// (R-10.1-3).
func TestTwoProcesses(t *testing.T) {
	const rounds = 60
	for name, open := range map[string]func(t *testing.T) source{
		"SQLite, advised": sqliteAdvised, "SQLite, deferred": sqliteDeferred, "PostgreSQL": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			base := 0
			for mixed := 0; mixed == 0; { // one may have ended before the other began
				two := []*process{start(t, s, rounds), start(t, s, rounds)}
				for _, p := range two {
					p.begin(t)
				}
				sums := map[string]int{}
				for i, p := range two {
					for p.out.Scan() {
						_, twice := sums[p.out.Text()]
						require.False(t, twice, "both processes made sum %s", p.out.Text())
						sums[p.out.Text()] = i
					}
					require.NoError(t, p.cmd.Wait())
				}
				require.Len(t, sums, 2*rounds)
				require.Equal(t, base+2*rounds, stored(t, s))
				for n := base + 2; n <= base+2*rounds; n++ {
					if sums[strconv.Itoa(n)] != sums[strconv.Itoa(n-1)] {
						mixed++
					}
				}
				t.Logf("the processes took turns %d times", mixed)
				base += 2 * rounds
				require.Less(t, base, 20*rounds, "they never meet")
			}
		})
	}
}

// kill -9 at any moment: what the process said it had committed is there, and
// of a transaction all rows or none (R-10.1-4). On SQLite the files are all
// that is left. On PostgreSQL the server lives on and has to roll back.
func TestKill9(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	for name, open := range map[string]func(t *testing.T) source{
		"SQLite, advised": sqliteAdvised, "SQLite, rollback journal": sqliteBare, "PostgreSQL": postgres,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			before, ahead, cut := 0, 0, 0
			for range rounds {
				p := start(t, s, 1_000_000)
				p.begin(t)
				printed := make(chan int, 1)
				go func() { // the last sum that it got to print
					last := 0
					for p.out.Scan() {
						if n, err := strconv.Atoi(p.out.Text()); err == nil {
							last = n
						}
					}
					printed <- last
				}()
				<-time.After(time.Duration(rand.Int64N(int64(60 * time.Millisecond))))
				require.NoError(t, p.cmd.Process.Kill()) // SIGKILL
				last := max(<-printed, before)
				require.Error(t, p.cmd.Wait())

				n := stored(t, s)
				require.GreaterOrEqual(t, n, last, "a commit that was reported is lost")
				require.LessOrEqual(t, n, last+1, "commits that were never reported, more than one")
				if n > last {
					ahead++
				}
				if n > before {
					cut++
				}
				before = n
			}
			t.Logf("%d kills, %d commits; %d processes died with commits made, %d between a commit and its report", rounds, before, cut, ahead)
			require.NotZero(t, before, "killed too early every time")
		})
	}
}
