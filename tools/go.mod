module github.com/sotto-im/sotto/tools

go 1.26
