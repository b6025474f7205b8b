module github.com/sotto-im/sotto/testvectors/conformance/bench/goolm

go 1.26

replace github.com/sotto-im/sotto/testvectors/conformance/bench/work => ../work

require (
	github.com/sotto-im/sotto/testvectors/conformance/bench/work v0.0.0-00010101000000-000000000000
	maunium.net/go/mautrix v0.30.0
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	go.mau.fi/util v0.10.0 // indirect
	golang.org/x/crypto v0.55.0 // indirect
)
