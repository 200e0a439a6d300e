"""Prints, as PEM, the certificates of Mozilla's certdata.txt that are trusted for servers.

The file is a list of objects, one a block of `ATTRIBUTE TYPE VALUE` lines; long values are octal bytes
between MULTILINE_OCTAL and END. A certificate and the trust in it are two objects with the same issuer and
serial number. Sorted by label, so that the order says nothing about how the file was made.
"""

import binascii
import sys


def objects(lines):
    """Yields each object as a dictionary from attribute to value."""
    current, lines = {}, iter(lines)
    for line in lines:
        words = line.split(None, 2)
        if not words or words[0].startswith("#") or not words[0].startswith("CKA_"):
            continue
        name = words[0]
        if words[1] == "MULTILINE_OCTAL":
            data = bytearray()
            for octal in lines:
                if octal.strip() == "END":
                    break
                data += bytes(int(byte, 8) for byte in octal.strip().split("\\")[1:])
            value = bytes(data)
        else:
            value = words[2].strip() if len(words) > 2 else ""
        if name == "CKA_CLASS" and current:
            yield current
            current = {}
        current[name] = value
    if current:
        yield current


def main(path):
    certificates, trusted = {}, set()
    with open(path, encoding="utf-8") as lines:
        for entry in objects(lines):
            key = (entry.get("CKA_ISSUER"), entry.get("CKA_SERIAL_NUMBER"))
            if entry["CKA_CLASS"] == "CKO_CERTIFICATE":
                certificates[key] = (entry["CKA_LABEL"].strip('"'), entry["CKA_VALUE"])
            elif entry.get("CKA_TRUST_SERVER_AUTH") == "CKT_NSS_TRUSTED_DELEGATOR":
                trusted.add(key)
    found = sorted(certificates[key] for key in trusted if key in certificates)
    if len(found) < 50:
        sys.exit(f"{path}: only {len(found)} trusted certificates, so the format must have changed")
    for label, der in found:
        text = binascii.b2a_base64(der, newline=False).decode()
        print(f"# {label}".encode("ascii", "backslashreplace").decode())
        print("-----BEGIN CERTIFICATE-----")
        print("\n".join(text[at : at + 64] for at in range(0, len(text), 64)))
        print("-----END CERTIFICATE-----")


main(sys.argv[1])
