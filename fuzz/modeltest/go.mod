module github.com/sotto-im/sotto/fuzz/modeltest

go 1.26

replace github.com/sotto-im/sotto => ../..

require (
	github.com/bufbuild/protocompile v0.14.1
	github.com/sotto-im/sotto v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	google.golang.org/protobuf v1.36.12
	pgregory.net/rapid v1.3.0
)

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sync v0.8.0 // indirect
)
