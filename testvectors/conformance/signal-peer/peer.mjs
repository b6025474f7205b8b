// A test peer: @signalapp/libsignal-client as a process that speaks the Sotto peer protocol (../../peer/README.md).
// 0.72.1 has all of its commands; bundles carry no Kyber keys, so sessions are version 3 (X3DH). With --release 0.103.0, which
// has no such sessions, it has those of groups, signatures and safety numbers.
// Written from the public API by introspection; the library is run as a black box and never linked into Sotto.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { randomBytes, randomInt, randomUUID } from 'node:crypto';

const arg = process.argv.indexOf('--release');
const release = arg < 0 ? '0.72.1' : process.argv[arg + 1];
const S = await import(`libsignal-${release}`); // the name it has in package.json
const libVersion = createRequire(import.meta.url)(`libsignal-${release}/package.json`).version;
const PACKAGE = '@signalapp/libsignal-client';
S.initLogger(S.LogLevel.Error, () => {}); // the default logger writes to standard output

class PeerError extends Error {
  constructor(name, message) { super(message); this.peerName = name; }
}
let storeError = null; // what a store threw during this command: the library rewraps it as text
const bad = (m) => new PeerError('BadRequest', m);

// ---- arguments ----
const hexRE = /^([0-9a-fA-F]{2})*$/;
function bytes(a, k, def) {
  const v = a[k];
  if (v === undefined || v === null) {
    if (def !== undefined) return def;
    throw bad(`${k} is missing`);
  }
  if (typeof v !== 'string' || !hexRE.test(v)) throw bad(`${k} is not hex`);
  return Buffer.from(v, 'hex');
}
function int(a, k, def, max = 0xffffffff) {
  const v = a[k];
  if (v === undefined || v === null) {
    if (def !== undefined) return def;
    throw bad(`${k} is missing`);
  }
  if (!Number.isInteger(v) || v < 0 || v > max) throw bad(`${k} is not an integer in 0..${max}`);
  return v;
}
function str(a, k, def) {
  const v = a[k];
  if (v === undefined || v === null) {
    if (def !== undefined) return def;
    throw bad(`${k} is missing`);
  }
  if (typeof v !== 'string') throw bad(`${k} is not a string`);
  return v;
}
function bool(a, k, def) {
  const v = a[k];
  if (v === undefined || v === null) return def;
  if (typeof v !== 'boolean') throw bad(`${k} is not a boolean`);
  return v;
}
function device(v) {
  if (!Number.isInteger(v) || v < 1 || v > 127) throw bad('deviceId is not in 1..127');
  return v;
}
function addr(a, k) {
  const v = a[k];
  if (v === null || typeof v !== 'object' || Array.isArray(v)) throw bad(`${k} is missing or not an address`);
  return S.ProtocolAddress.new(str(v, 'name'), device(v.deviceId));
}
function when(a) {
  const n = int(a, 'now', null, Number.MAX_SAFE_INTEGER);
  return n === null ? new Date() : new Date(n);
}
function uuid(a, k) {
  const v = str(a, k);
  if (!/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(v)) throw bad(`${k} is not a UUID`);
  // The JavaScript layer refuses UUIDs without an RFC 9562 version and variant nibble.
  return v.toLowerCase();
}
const keyed = (f) => { try { return f(); } catch (e) { throw new PeerError('InvalidKey', e.message); } };
const pub = (b) => keyed(() => S.PublicKey.deserialize(b));
const priv = (b) => keyed(() => S.PrivateKey.deserialize(b));
const hex = (u) => (u === null || u === undefined ? null : Buffer.from(u).toString('hex'));

// ---- stores: records are kept serialised ----
class Identities extends S.IdentityKeyStore {
  constructor(key, reg) { super(); this.key = key; this.reg = reg; this.known = new Map(); }
  async getIdentityKey() { return this.key; }
  async getLocalRegistrationId() { return this.reg; }
  async saveIdentity(name, key) {
    const n = name.toString(), h = hex(key.serialize()), old = this.known.get(n);
    this.known.set(n, h);
    return old !== undefined && old !== h ? S.IdentityChange.ReplacedExisting : S.IdentityChange.NewOrUnchanged;
  }
  async isTrustedIdentity(name, key) { // trust on first use, both directions
    const old = this.known.get(name.toString());
    return old === undefined || old === hex(key.serialize());
  }
  async getIdentity(name) {
    const h = this.known.get(name.toString());
    return h === undefined ? null : S.PublicKey.deserialize(Buffer.from(h, 'hex'));
  }
}
class Sessions extends S.SessionStore {
  m = new Map();
  async saveSession(name, rec) { this.m.set(name.toString(), Buffer.from(rec.serialize())); }
  async getSession(name) {
    const b = this.m.get(name.toString());
    return b ? S.SessionRecord.deserialize(b) : null;
  }
  async getExistingSessions(as) { return Promise.all(as.map((a) => this.getSession(a))); }
}
const keyStore = (Base, Record, noun, err) => {
  class K extends Base { m = new Map(); }
  K.prototype[`save${noun}`] = async function (id, rec) { this.m.set(id, Buffer.from(rec.serialize())); };
  K.prototype[`get${noun}`] = async function (id) {
    const b = this.m.get(id);
    if (!b) throw (storeError = new PeerError(err, `no ${noun} with id ${id}`));
    return Record.deserialize(b);
  };
  K.prototype[`remove${noun}`] = async function (id) { this.m.delete(id); };
  K.prototype[`mark${noun}Used`] = async function () {};
  return K;
};
const PreKeys = keyStore(S.PreKeyStore, S.PreKeyRecord, 'PreKey', 'InvalidPreKeyId');
const SignedPreKeys = keyStore(S.SignedPreKeyStore, S.SignedPreKeyRecord, 'SignedPreKey', 'InvalidSignedPreKeyId');
const KyberPreKeys = keyStore(S.KyberPreKeyStore, S.KyberPreKeyRecord, 'KyberPreKey', 'InvalidMessage');
class SenderKeys extends S.SenderKeyStore {
  m = new Map();
  async saveSenderKey(sender, id, rec) { this.m.set(`${id}/${sender.toString()}`, Buffer.from(rec.serialize())); }
  async getSenderKey(sender, id) {
    const b = this.m.get(`${id}/${sender.toString()}`);
    return b ? S.SenderKeyRecord.deserialize(b) : null;
  }
}

const parties = new Map();
function party(a) {
  const s = str(a, 'store', 'main');
  const p = parties.get(s);
  if (!p) throw bad(`store ${JSON.stringify(s)} has no identity: newIdentity first`);
  return p;
}

// ---- a small protobuf reader, for the fields the library has no getters for ----
function fields(b) {
  const out = {};
  let i = 0;
  const varint = () => {
    let n = 0n, s = 0n;
    for (;;) { const c = b[i++]; if (c === undefined) throw new Error('truncated'); n |= BigInt(c & 127) << s; if (c < 128) return n; s += 7n; }
  };
  while (i < b.length) {
    const t = Number(varint()), f = t >> 3;
    switch (t & 7) {
      case 0: out[f] = Number(varint() & 0xffffffffn); break;
      case 2: { const n = Number(varint()); out[f] = hex(b.subarray(i, i + n)); i += n; break; }
      case 1: i += 8; break;
      case 5: i += 4; break;
      default: throw new Error('wire type');
    }
  }
  return out;
}

// ---- commands ----
const cmds = {
  version: () => ({ package: `${PACKAGE} ${libVersion}`, version: libVersion, family: 'signal', commands: Object.keys(cmds) }),

  newIdentity(a) {
    const deviceId = device(int(a, 'deviceId', 1));
    const name = str(a, 'name', null) ?? randomUUID();
    const reg = int(a, 'registrationId', null) ?? randomInt(1, 16381);
    const pk = bytes(a, 'identityPrivate', null);
    const k = pk ? priv(pk) : S.PrivateKey.generate();
    parties.set(str(a, 'store', 'main'), {
      name, deviceId, key: k, address: S.ProtocolAddress.new(name, deviceId),
      ids: new Identities(k, reg), sessions: new Sessions(), pre: new PreKeys(), spk: new SignedPreKeys(),
      kyber: new KyberPreKeys(), sender: new SenderKeys(),
    });
    return { name, deviceId, registrationId: reg, identityPublic: hex(k.getPublicKey().serialize()), identityPrivate: hex(k.serialize()) };
  },

  async makeBundle(a) {
    const p = party(a);
    const withOPK = bool(a, 'preKey', true), id = int(a, 'preKeyId', 1), sid = int(a, 'signedPreKeyId', 1);
    const ts = int(a, 'timestamp', Date.now(), Number.MAX_SAFE_INTEGER);
    const opkB = bytes(a, 'preKeyPrivate', null), spkB = bytes(a, 'signedPreKeyPrivate', null);
    const spk = spkB ? priv(spkB) : S.PrivateKey.generate();
    const sig = p.key.sign(spk.getPublicKey().serialize());
    let opk = null;
    if (withOPK) {
      opk = opkB ? priv(opkB) : S.PrivateKey.generate();
      await p.pre.savePreKey(id, S.PreKeyRecord.new(id, opk.getPublicKey(), opk));
    }
    await p.spk.saveSignedPreKey(sid, S.SignedPreKeyRecord.new(sid, ts, spk.getPublicKey(), spk, sig));
    return {
      registrationId: p.ids.reg, deviceId: p.deviceId, identityKey: hex(p.key.getPublicKey().serialize()),
      preKeyId: opk ? id : null, preKeyPublic: opk ? hex(opk.getPublicKey().serialize()) : null,
      signedPreKeyId: sid, signedPreKeyPublic: hex(spk.getPublicKey().serialize()), signedPreKeySignature: hex(sig),
      kyberPreKeyId: null, kyberPreKeyPublic: null, kyberPreKeySignature: null,
    };
  },

  async processBundle(a) {
    const p = party(a), to = addr(a, 'address'), b = a.bundle, now = when(a);
    if (b === null || typeof b !== 'object' || Array.isArray(b)) throw bad('bundle is missing');
    const kid = int(b, 'kyberPreKeyId', null);
    const kyber = kid === null ? [null, null, null]
      : [kid, keyed(() => S.KEMPublicKey.deserialize(bytes(b, 'kyberPreKeyPublic'))), bytes(b, 'kyberPreKeySignature')];
    const pid = int(b, 'preKeyId', null);
    const bundle = S.PreKeyBundle.new(
      int(b, 'registrationId'), int(b, 'deviceId'), pid, pid === null ? null : pub(bytes(b, 'preKeyPublic')),
      int(b, 'signedPreKeyId'), pub(bytes(b, 'signedPreKeyPublic')), bytes(b, 'signedPreKeySignature'),
      pub(bytes(b, 'identityKey')), ...kyber);
    await S.processPreKeyBundle(bundle, to, p.sessions, p.ids, now);
    return {};
  },

  async encrypt(a) {
    const p = party(a), to = addr(a, 'address'), pt = bytes(a, 'plaintext'), now = when(a);
    const m = await S.signalEncrypt(pt, to, p.sessions, p.ids, now);
    return { type: m.type(), ciphertext: hex(m.serialize()) };
  },

  async decrypt(a) {
    const p = party(a), from = addr(a, 'address'), t = int(a, 'type'), ct = bytes(a, 'ciphertext');
    let pt;
    if (t === S.CiphertextMessageType.Whisper) {
      pt = await S.signalDecrypt(S.SignalMessage.deserialize(ct), from, p.sessions, p.ids);
    } else if (t === S.CiphertextMessageType.PreKey) {
      pt = await S.signalDecryptPreKey(S.PreKeySignalMessage.deserialize(ct), from, p.sessions, p.ids, p.pre, p.spk, p.kyber);
    } else throw bad(`type ${t} is neither 2 nor 3`);
    return { plaintext: hex(pt) };
  },

  exportSession(a) {
    const p = party(a), b = p.sessions.m.get(addr(a, 'address').toString());
    return { record: b ? hex(b) : null };
  },
  async importSession(a) {
    const p = party(a), to = addr(a, 'address');
    const rec = S.SessionRecord.deserialize(bytes(a, 'record'));
    await p.sessions.saveSession(to, rec);
    return {};
  },
  deleteSession(a) {
    party(a).sessions.m.delete(addr(a, 'address').toString());
    return {};
  },
  async archiveSession(a) {
    const p = party(a), to = addr(a, 'address'), rec = await p.sessions.getSession(to);
    if (!rec) throw new PeerError('SessionNotFound', `no session with ${to.toString()}`);
    rec.archiveCurrentState();
    await p.sessions.saveSession(to, rec);
    return {};
  },
  async sessionInfo(a) {
    const p = party(a), to = addr(a, 'address'), b = p.sessions.m.get(to.toString());
    if (!b) return { exists: false, hasCurrentState: false, size: 0 };
    const rec = S.SessionRecord.deserialize(b);
    const cur = bool(a, 'usable', false) ? rec.hasCurrentState(when(a)) : hasCurrent(b);
    return { exists: true, hasCurrentState: cur, size: b.length };
  },

  async getIdentity(a) {
    const k = await party(a).ids.getIdentity(addr(a, 'address'));
    return { identityKey: k ? hex(k.serialize()) : null };
  },
  async saveIdentity(a) {
    const p = party(a), to = addr(a, 'address');
    return { change: S.IdentityChange[await p.ids.saveIdentity(to, pub(bytes(a, 'identityKey')))] };
  },

  async senderKeyDistributionCreate(a) {
    const p = party(a), id = uuid(a, 'distributionId');
    const m = await S.SenderKeyDistributionMessage.create(p.address, id, p.sender);
    return { message: hex(m.serialize()), distributionId: m.distributionId(), chainId: m.chainId(), iteration: m.iteration() };
  },
  async senderKeyDistributionProcess(a) {
    const p = party(a), from = addr(a, 'sender');
    const m = S.SenderKeyDistributionMessage.deserialize(bytes(a, 'message'));
    await S.processSenderKeyDistributionMessage(from, m, p.sender);
    return { distributionId: m.distributionId(), chainId: m.chainId(), iteration: m.iteration() };
  },
  async groupEncrypt(a) {
    const p = party(a);
    const m = await S.groupEncrypt(p.address, uuid(a, 'distributionId'), p.sender, bytes(a, 'plaintext'));
    return { type: m.type(), ciphertext: hex(m.serialize()) };
  },
  async groupDecrypt(a) {
    const p = party(a), from = addr(a, 'sender'), ct = bytes(a, 'ciphertext');
    return { plaintext: hex(await S.groupDecrypt(from, p.sender, ct)) };
  },
  exportSenderKey(a) {
    const p = party(a), from = a.sender == null ? p.address : addr(a, 'sender');
    const b = p.sender.m.get(`${uuid(a, 'distributionId')}/${from.toString()}`);
    return { record: b ? hex(b) : null };
  },
  async importSenderKey(a) {
    const p = party(a), from = a.sender == null ? p.address : addr(a, 'sender'), id = uuid(a, 'distributionId');
    await p.sender.saveSenderKey(from, id, S.SenderKeyRecord.deserialize(bytes(a, 'record')));
    return {};
  },

  sign(a) {
    const b = bytes(a, 'private', null), m = bytes(a, 'message');
    return { signature: hex((b ? priv(b) : party(a).key).sign(m)) };
  },
  verify: (a) => ({ valid: pub(bytes(a, 'public')).verify(bytes(a, 'message'), bytes(a, 'signature')) }),
  agree: (a) => ({ secret: hex(priv(bytes(a, 'private')).agree(pub(bytes(a, 'public')))) }),
  fingerprint(a) {
    const it = int(a, 'iterations', 5200), v = int(a, 'version', 2);
    if (it < 2 || it > 1000000) throw bad('iterations is not in 2..1000000');
    const f = S.Fingerprint.new(it, v, bytes(a, 'localId'), pub(bytes(a, 'localKey')), bytes(a, 'remoteId'), pub(bytes(a, 'remoteKey')));
    return { display: f.displayableFingerprint().toString(), scannable: hex(f.scannableFingerprint().toBuffer()) };
  },

  parseSignalMessage(a) {
    const b = bytes(a, 'message'), m = S.SignalMessage.deserialize(b), f = fields(b.subarray(1, -8));
    return { version: m.messageVersion(), ratchetKey: f[1], counter: m.counter(), previousCounter: f[3] ?? 0,
      ciphertext: hex(m.body()), mac: hex(b.subarray(-8)) };
  },
  parsePreKeySignalMessage(a) {
    const b = bytes(a, 'message'), m = S.PreKeySignalMessage.deserialize(b), f = fields(b.subarray(1));
    return { version: m.version(), registrationId: m.registrationId(), preKeyId: m.preKeyId(), signedPreKeyId: m.signedPreKeyId(),
      baseKey: f[2], identityKey: f[3], message: f[4], kyberPreKeyId: f[7] ?? null, kyberCiphertext: f[8] ?? null };
  },
  parseSenderKeyMessage(a) {
    const b = bytes(a, 'message'), m = S.SenderKeyMessage.deserialize(b);
    return { version: b[0] >> 4, distributionId: m.distributionId(), chainId: m.chainId(), iteration: m.iteration(),
      ciphertext: hex(m.ciphertext()), signature: hex(b.subarray(-64)) };
  },
};

// What is left without sessions of version 3.
if (release !== '0.72.1') {
  const keep = /^(version|newIdentity|senderKey.*|group.*|exportSenderKey|importSenderKey|sign|verify|agree|fingerprint|parseSenderKeyMessage)$/;
  for (const c of Object.keys(cmds)) if (!keep.test(c)) delete cmds[c];
}

// Whether a RecordStructure holds a current session (hasCurrentState of the library answers "usable for sending" instead).
function hasCurrent(b) {
  try { return fields(b)[1] !== undefined; } catch { return false; }
}

// ---- errors: the library has codes for a few, messages for the rest ----
const texts = [
  [/untrusted identity/i, 'UntrustedIdentity'],
  [/signed pre.?key identifier/i, 'InvalidSignedPreKeyId'],
  [/invalid (one-time )?pre.?key identifier/i, 'InvalidPreKeyId'],
  [/message with old counter/i, 'DuplicatedMessage'],
  [/session with .* not found|no session for|session not found/i, 'SessionNotFound'],
  [/missing sender key state|no sender key state/i, 'NoSenderKeyState'],
  [/signature validation|invalid signature|signature verification/i, 'SignatureValidationFailed'],
  [/version was too old/i, 'LegacyCiphertextVersion'],
  [/version was unrecognized|unrecognized message version/i, 'UnrecognizedCiphertextVersion'],
  [/no key type|bad key type|bad key length|invalid key$/i, 'InvalidKey'],
  [/key agreement/i, 'InvalidKeyAgreement'],
  [/protobuf encoding was invalid|bytes were too short|failed to decode/i, 'InvalidProtobufEncoding'],
  [/invalid .*message|invalid session|decryption failed/i, 'InvalidMessage'],
];
function toError(e) {
  if (storeError && !(e instanceof PeerError) && /callback error/.test(String(e?.message))) e = storeError;
  if (e instanceof PeerError) return { name: e.peerName, message: e.message };
  const message = String(e?.message ?? e);
  const code = e?.code;
  const C = S.ErrorCode;
  if (code === C.DuplicatedMessage) return { name: 'DuplicatedMessage', message };
  if (code === C.UntrustedIdentity) return { name: 'UntrustedIdentity', message };
  for (const [re, name] of texts) if (re.test(message)) return { name, message };
  if (code === C.InvalidSession || code === C.VerificationFailed) return { name: 'InvalidMessage', message };
  return { name: typeof code === 'number' ? 'InvalidMessage' : 'BadRequest', message: `${e?.name ?? 'Error'}: ${message}` };
}

async function answer(line) {
  let id = null;
  storeError = null;
  try {
    let r;
    try { r = JSON.parse(line); } catch (e) { throw bad(`not JSON: ${e.message}`); }
    if (r === null || typeof r !== 'object' || Array.isArray(r)) throw bad('not a JSON object');
    id = r.id ?? null;
    if (typeof r.cmd !== 'string' || !Object.hasOwn(cmds, r.cmd)) throw bad(`unknown command ${JSON.stringify(r.cmd)}`);
    return { id, ok: true, result: await cmds[r.cmd](r) };
  } catch (e) {
    return { id, ok: false, error: toError(e) };
  }
}

const put = (o) => new Promise((res) => process.stdout.write(JSON.stringify(o) + '\n', res));
process.stdout.on('error', () => process.exit(0));
if (!process.argv.includes('--quiet-start')) await put({ id: 0, ok: true, result: { ready: true, version: `${PACKAGE} ${libVersion}` } });
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) await put(await answer(line));
process.exit(0);
