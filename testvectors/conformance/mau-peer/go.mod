module github.com/sotto-im/sotto/testvectors/conformance/mau-peer

go 1.26

replace github.com/sotto-im/sotto/testvectors/conformance/bench/work => ../bench/work

require (
	github.com/sotto-im/sotto/testvectors/conformance/bench/work v0.0.0-00010101000000-000000000000
	go.mau.fi/libsignal v0.2.1
	google.golang.org/protobuf v1.36.10
)

require (
	filippo.io/edwards25519 v1.1.0 // indirect
	golang.org/x/crypto v0.42.0 // indirect
)
