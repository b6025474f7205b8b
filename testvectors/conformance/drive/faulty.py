#!/usr/bin/env python3
"""A peer with one planted fault, to see that the driver finds it:  faulty.py FAULT command...
Faults: plaintext (a byte too many now and then), duplicate (accepts a message twice), name (InvalidMessage for DuplicatedMessage), accept
(failed decryptions succeed, empty), lose (a failed decryption makes the next one fail), counter (repeats a ciphertext), signature (all are valid), number
(the last digit of a safety number), noise (prints), status (exits 1)."""
import json, subprocess, sys

BAD = ("InvalidMessage", "SignatureValidationFailed")
fault, n, seen, sick, last = sys.argv[1], 0, {}, False, None
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(p.stdout.readline().decode(), end="", flush=True)
for line in sys.stdin.buffer:
    p.stdin.write(line)
    p.stdin.flush()
    r, q = json.loads(p.stdout.readline()), {}
    try:
        q = json.loads(line)
    except ValueError:
        pass
    if isinstance(q, dict) and q.get("cmd") in ("decrypt", "groupDecrypt"):
        n += 1
        if fault == "plaintext" and r["ok"] and n % 97 == 0:
            r["result"]["plaintext"] += "00"
        elif fault == "duplicate" and r["ok"]:
            seen[q["ciphertext"]] = r
        elif fault == "duplicate" and q["ciphertext"] in seen:
            r = dict(seen[q["ciphertext"]], id=q["id"])
        elif fault == "name" and not r["ok"] and r["error"]["name"] == "DuplicatedMessage":
            r["error"]["name"] = "InvalidMessage"
        elif fault == "accept" and not r["ok"] and r["error"]["name"] in BAD:
            r = {"id": q["id"], "ok": True, "result": {"plaintext": ""}}
        elif fault == "lose":
            if sick and r["ok"]:
                r = {"id": q["id"], "ok": False, "error": {"name": "InvalidMessage", "message": "planted"}}
                sick = False
            elif not r["ok"] and r["error"]["name"] in BAD:
                sick = True
    if isinstance(q, dict) and q.get("cmd") in ("encrypt", "groupEncrypt") and r["ok"]:
        n += 1
        if fault == "counter" and n % 53 == 0:
            r["result"] = last
        last = r["result"]
    if fault == "signature" and "valid" in r.get("result", {}):
        r["result"]["valid"] = True
    if fault == "number" and "display" in r.get("result", {}):
        r["result"]["display"] = r["result"]["display"][:-1] + "x"
    if fault == "noise" and n == 40:
        print("DEBUG something", flush=True)
    print(json.dumps(r), flush=True)
sys.exit(1 if fault == "status" else 0)
