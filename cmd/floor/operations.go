package main

import "path"

// An operation is a benchmark with its floor: the ratio that is the goal (0: none
// was set), and the one that the guard still lets pass, which is what was
// measured and a margin.
type operation struct {
	pkg, name   string
	goal, limit float64
}

func (o operation) base() string { return path.Base(o.pkg) }

var operations = []operation{
	{"x3dh", "GenerateKey", 0.60, 0.60},
	{"x3dh", "GeneratePreKeys100", 1.05, 1.20},
	{"x3dh", "BundleVerify/noopk", 1.05, 1.20},
	{"x3dh", "BundleVerify/opk", 1.05, 1.20},
	{"x3dh", "Initiate/noopk", 1.05, 1.20},
	{"x3dh", "Initiate/opk", 1.05, 1.20},
	{"x3dh", "Respond/noopk", 1.05, 1.20},
	{"x3dh", "Respond/opk", 1.05, 1.20},
	{"ratchet", "Encrypt/64B", 1.25, 1.60},
	{"ratchet", "Encrypt/1KiB", 1.25, 1.50},
	{"ratchet", "Encrypt/64KiB", 1.25, 1.30},
	{"ratchet", "Decrypt/64B", 1.25, 1.70},
	{"ratchet", "Decrypt/1KiB", 1.25, 1.50},
	{"ratchet", "Decrypt/64KiB", 1.25, 1.30},
	{"ratchet", "PingPong", 1.05, 1.20},
	{"ratchet", "Reverse1000", 1.25, 2.30},
	{"ratchet", "ForgedJump25000", 1.05, 1.20},
	{"senderkey", "GroupEncrypt/64B", 1.25, 1.30},
	{"senderkey", "GroupEncrypt/1KiB", 1.25, 1.30},
	{"senderkey", "GroupDecrypt/64B", 1.25, 1.30},
	{"senderkey", "GroupDecrypt/1KiB", 1.25, 1.30},
	{"senderkey", "DistributionCreate", 1.05, 1.20},
	{"senderkey", "DistributionProcess", 0, 4.50},
	{"sesame", "DeviceEncrypt/stored=0", 2, 3.60},
	{"sesame", "DeviceEncrypt/stored=2000", 2, 3.60},
	{"sesame", "DeviceDecrypt/stored=0", 2, 3.60},
	{"sesame", "DeviceDecrypt/stored=2000", 2, 3.60},
}

// rates are what has no floor but, some of it, a goal in ns.
var rates = []operation{
	{pkg: "envelope", name: "Parse/1KiB", goal: 1024},
	{pkg: "envelope", name: "Append/1KiB", goal: 1024},
	{pkg: "envelope", name: "Pack"},
	{pkg: "lamport", name: "Submit", goal: 1000},
	{pkg: "lamport", name: "SubmitRows"},
	{pkg: "senderkey", name: "SenderEncrypt1000"},
	{pkg: "sesame", name: "DeviceDecryptSwapped/stored=0"},
	{pkg: "sesame", name: "DeviceDecryptSwapped/stored=2000"},
	{pkg: "sesame", name: "Fanout1000"},
	{pkg: "sesame", name: "GroupFanout/1000/cold"},
	{pkg: "sesame", name: "GroupFanout/1000/warm"},
}

var curves = []curve{
	{"sesame", "ScaleEncryptStored", "encrypt, n stored keys", 0},
	{"sesame", "ScaleDecryptStored", "decrypt the next message, n stored keys", 0},
	{"sesame", "ScaleDecryptSwapped", "decrypt two swapped messages, n stored keys in their chain", 0},
	{"sesame", "ScaleChains", "decrypt, n receiving chains", 1},
	{"sesame", "ScaleArchived", "decrypt, n archived sessions", 1},
	{"sesame", "ScaleForgedArchived", "refuse a forgery, n archived sessions", 1},
	{"sesame", "ScaleDevices", "one plaintext for n devices", 1},
	{"sesame", "ScaleGroup", "message to a group of n devices", 1},
	{"internal/relay", "ScaleConversations", "server: accept, n conversations", 0},
	{"internal/relay", "ScalePending", "server: enqueue, page of 64, acknowledge; n pending", 0},
}
