module github.com/sotto-im/sotto/testvectors/conformance/bench/work

go 1.26
