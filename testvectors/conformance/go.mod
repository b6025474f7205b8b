module github.com/sotto-im/sotto/testvectors/conformance

go 1.26.4

replace (
	github.com/sotto-im/sotto => ../..
	github.com/sotto-im/sotto/testvectors/conformance/bench/work => ./bench/work
)

require (
	github.com/c2sp/wycheproof v0.0.0-20260902155932-3fa63dd0344a
	github.com/sotto-im/sotto v0.0.0-00010101000000-000000000000
	github.com/sotto-im/sotto/testvectors/conformance/bench/work v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.54.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
