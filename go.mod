module github.com/sotto-im/sotto

go 1.26

require (
	filippo.io/edwards25519 v1.2.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/crypto v0.54.0
	google.golang.org/protobuf v1.36.12
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
)
