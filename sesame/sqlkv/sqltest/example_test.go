package sqltest

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/sotto-im/sotto/sesame"
	"github.com/sotto-im/sotto/sesame/sqlkv"
	"github.com/sotto-im/sotto/x3dh"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// openDevice opens a device in a database with an outbox and an inbox.
func openDevice(ctx context.Context, file string) (*sql.DB, *sesame.Device) {
	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	check(err)
	_, err = db.Exec(sqlkv.Schema + `;
		CREATE TABLE IF NOT EXISTS outbox (receiver TEXT, type INTEGER, message BLOB);
		CREATE TABLE IF NOT EXISTS inbox (sender TEXT, text BLOB, verdict TEXT)`)
	check(err)
	var dev *sesame.Device
	check(sqlkv.Do(ctx, db, func(tx *sql.Tx) (err error) {
		dev, err = sesame.Open(sqlkv.Tx(tx), sesame.Config{Now: time.Now})
		return err
	}))
	return db, dev
}

// The two call sites of a client: what a message changes is in one transaction
// with the application's own row.
func Example_callSites() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "sotto")
	check(err)
	defer os.RemoveAll(dir)
	aliceDB, alice := openDevice(ctx, filepath.Join(dir, "alice.db"))
	defer aliceDB.Close()
	bobDB, bob := openDevice(ctx, filepath.Join(dir, "bob.db"))
	defer bobDB.Close()
	toBob, toAlice := sesame.Address{User: "bob", Device: 1}, sesame.Address{User: "alice", Device: 1}

	// Bob's device publishes; Alice's fetches a bundle and starts.
	var bundle *x3dh.Bundle
	check(sqlkv.Do(ctx, bobDB, func(tx *sql.Tx) error {
		p, err := bob.Publish(sqlkv.Tx(tx), 0)
		if err != nil {
			return err
		}
		bundle, err = x3dh.NewBundle(x3dh.BundleInfo{
			RegistrationID: p.RegistrationID, DeviceID: 1, IdentityKey: p.IdentityKey,
			SignedPreKey: p.SignedPreKey, OneTimePreKey: &p.OneTimePreKeys[0],
		})
		return err
	}))
	check(sqlkv.Do(ctx, aliceDB, func(tx *sql.Tx) error {
		return alice.Start(sqlkv.Tx(tx), toBob, bundle)
	}))

	// Send.
	var out []sesame.Message
	check(sqlkv.Do(ctx, aliceDB, func(tx *sql.Tx) (err error) {
		out, err = alice.Encrypt(sqlkv.Tx(tx), []byte("Are you there?"), toBob)
		if err != nil {
			return err
		}
		for _, m := range out {
			if m.Err == nil {
				_, err = tx.Exec("INSERT INTO outbox VALUES ($1, $2, $3)", m.To.User, m.Type, m.Bytes)
			}
		}
		return err
	}))
	// then send what is in the outbox

	// Receive.
	check(sqlkv.Do(ctx, bobDB, func(tx *sql.Tx) error {
		r, err := bob.Decrypt(sqlkv.Tx(tx), toAlice, out[0].Type, out[0].Bytes)
		if err != nil {
			return err // storage: roll back, do not acknowledge
		}
		_, err = tx.Exec("INSERT INTO inbox VALUES ($1, $2, $3)", r.From.User, r.Plaintext, fmt.Sprint(r.Err))
		return err // plaintext, or the verdict: both are committed
	}))
	// then acknowledge

	var text, verdict string
	check(bobDB.QueryRow("SELECT text, verdict FROM inbox").Scan(&text, &verdict))
	fmt.Println(text, verdict)
	// Output: Are you there? <nil>
}
