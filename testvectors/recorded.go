package testvectors

import (
	"fmt"
	"io/fs"
	"slices"
)

// The files of recorded/, as they were recorded. Names and meaning of the
// fields are the files': what one has and its type has not is an error of its
// loader, and so is a list without a case.

// A RecordedConversation is one of two devices of a released peer: every private
// key, every message, and the sessions of the device that acts after every step.
type RecordedConversation struct {
	Source, Mode, Licence, Rule string
	LibraryVersion              string `json:"library_version"`
	OneTimePreKey               bool   `json:"one_time_prekey"`
	Alice, Bob                  RecordedDevice
	NowMS                       int64 `json:"now_ms"`
	Steps                       []struct {
		Op             string // "alice.encrypt" and so on
		ID             string // of the message; with "-duplicate" if it was read before
		Plaintext      string `json:"plaintext_utf8"`
		Type           uint8  // with Message
		Message        Hex    // of a step that encrypts
		Error          string
		AliceSession   Hex      `json:"alice_session"`
		BobSession     Hex      `json:"bob_session"`
		RemovedPreKeys []uint32 `json:"removed_prekeys"`
		KyberUsed      []uint32 `json:"kyber_used"`
	}
}

// A RecordedDevice is the keys of one in a [RecordedConversation]. Who began it
// has no prekeys there.
type RecordedDevice struct {
	Address               string
	RegistrationID        uint32 `json:"registration_id"`
	IdentityPrivate       Hex    `json:"identity_private"`
	IdentityPublic        Hex    `json:"identity_public"`
	SignedPreKeyID        uint32 `json:"signed_prekey_id"`
	SignedPreKeyPrivate   Hex    `json:"signed_prekey_private"`
	SignedPreKeyPublic    Hex    `json:"signed_prekey_public"`
	SignedPreKeySignature Hex    `json:"signed_prekey_signature"`
	SignedPreKeyRecord    Hex    `json:"signed_prekey_record"`
	OneTimePreKeyID       uint32 `json:"one_time_prekey_id"`
	OneTimePreKeyPrivate  Hex    `json:"one_time_prekey_private"`
	OneTimePreKeyPublic   Hex    `json:"one_time_prekey_public"`
	OneTimePreKeyRecord   Hex    `json:"one_time_prekey_record"`
}

// LoadConversation reads the recorded conversation.
func LoadConversation() (*RecordedConversation, error) {
	return load(files, "recorded/x3dh-v3-libsignal-0.72.1.json",
		func(r *RecordedConversation) []int { return []int{len(r.Steps)} })
}

// A RecordedGroup is what one device of a released peer sent to a group and
// another received, and the record of the one that acts after every step.
type RecordedGroup struct {
	Source, Licence, Rule string
	LibraryVersion        string `json:"library_version"`
	DistributionID        string `json:"distribution_id"` // a UUID with its hyphens
	Steps                 []struct {
		Op             string // "encrypt" or "decrypt"
		Iteration      uint32
		Plaintext      string `json:"plaintext_utf8"`
		Message        Hex    // of a step that encrypts
		Error          string
		SenderRecord   Hex `json:"sender_record"`
		ReceiverRecord Hex `json:"receiver_record"`
	}
	SKDM                  Hex
	SKDMChainID           uint32 `json:"skdm_chain_id"`
	SKDMIteration         uint32 `json:"skdm_iteration"`
	SKDMChainKey          Hex    `json:"skdm_chain_key"`
	SenderRecordInitial   Hex    `json:"sender_record_initial"`
	CreateAgain           bool   `json:"create_again_is_identical"`
	ReceiverRecordInitial Hex    `json:"receiver_record_initial"`
	LateSKDM              Hex    `json:"late_skdm"`
	LateIteration         uint32 `json:"late_iteration"`
	ReceiverRecordAfter   Hex    `json:"receiver_record_after_reprocessing_late_skdm"`
	BadSignatureError     string `json:"bad_signature_error"`
}

// LoadGroup reads the recorded group.
func LoadGroup() (*RecordedGroup, error) {
	return load(files, "recorded/senderkey-libsignal-0.72.1.json",
		func(r *RecordedGroup) []int { return []int{len(r.Steps)} })
}

// RecordedSignatures are XEdDSA signatures, and whether releases of a peer
// accept them.
type RecordedSignatures struct {
	Source, Licence, Rule string
	Vectors               []struct {
		Name      string
		Public    Hex `json:"public_u"`
		Message   Hex
		Signature Hex
		Model     bool
		Note      string // with the private key behind "private=" if it was signed with Z=07*64
		V0602     bool   `json:"libsignal_0.60.2"`
		V0900     bool   `json:"libsignal_0.90.0"`
		V01030    bool   `json:"libsignal_0.103.0"`
	}
}

// LoadSignatures reads the recorded signatures.
func LoadSignatures() (*RecordedSignatures, error) {
	return load(files, "recorded/xeddsa-libsignal-0.60.2-0.90.0-0.103.0.json",
		func(r *RecordedSignatures) []int { return []int{len(r.Vectors)} })
}

// RecordedFingerprints are safety numbers of a released peer.
type RecordedFingerprints struct {
	Source, Licence string
	LibraryVersion  string `json:"library_version"`
	Vectors         []struct {
		Comment    string
		Iterations int
		Version    uint32
		LocalID    Hex `json:"local_id"`
		LocalKey   Hex `json:"local_key"`
		RemoteID   Hex `json:"remote_id"`
		RemoteKey  Hex `json:"remote_key"`
		Display    string
		Scannable  Hex
	}
}

// LoadFingerprints reads the recorded safety numbers.
func LoadFingerprints() (*RecordedFingerprints, error) {
	return load(files, "recorded/fingerprint-libsignal-0.72.1.json",
		func(r *RecordedFingerprints) []int { return []int{len(r.Vectors)} })
}

// RecordedRetries are the retry requests that a released peer made for messages,
// those for which it made none, and which contents it accepts.
type RecordedRetries struct {
	Source, Licence string
	LibraryVersion  string `json:"library_version"`
	Requests        []struct {
		Comment                string
		Original               Hex
		OriginalType           uint8 `json:"original_type"`
		Timestamp              uint64
		DeviceID               uint32 `json:"device_id"`
		RatchetKey             Hex    `json:"ratchet_key"`
		DecryptionErrorMessage Hex    `json:"decryption_error_message"`
		PlaintextContent       Hex    `json:"plaintext_content"`
	}
	RefusedOriginals []struct {
		Comment      string
		Original     Hex
		OriginalType uint8 `json:"original_type"`
	} `json:"refused_originals"`
	Contents []struct {
		Comment          string
		PlaintextContent Hex `json:"plaintext_content"`
		Accepted         bool
	}
}

// LoadRetries reads the recorded retry requests.
func LoadRetries() (*RecordedRetries, error) {
	return load(files, "recorded/retry-libsignal-0.72.1.json",
		func(r *RecordedRetries) []int {
			return []int{len(r.Requests), len(r.RefusedOriginals), len(r.Contents)}
		})
}

// load reads a file into a T. A field of the file that T does not have is an
// error, and so is a list without cases, of which there are as many as cases says.
func load[T any](fsys fs.FS, name string, cases func(*T) []int) (*T, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("testvectors: %w", err)
	}
	v := new(T)
	if err := decode(b, v); err != nil {
		return nil, fmt.Errorf("testvectors: %s: %w", name, err)
	}
	if slices.Contains(cases(v), 0) {
		return nil, fmt.Errorf("testvectors: %s: no cases", name)
	}
	return v, nil
}
