{ build, fetchDebSource }:
build {
  pname = "openssl";
  license = "Apache-2.0";
  homepage = "https://openssl-library.org/";
  source = fetchDebSource {
    name = "openssl";
    upstream = [ "https://github.com/openssl/openssl/releases/download/openssl-3.0.20/openssl-3.0.20.tar.gz" ];
  };
  # the security fixes of the distribution after this release
  patches = [
    "Reject-oversized-inputs-in-ASN1_mbstring_ncopy.patch"
    "cms-kek_unwrap_key-Fix-out-of-bounds-read-in-check-byte-v.patch"
    "Avoid-length-truncation-in-ASN1_STRING_set.patch"
    "CMS-Produce-error-when-AEAD-algorithms-are-used-in-envelo.patch"
    "Reject-potentially-forged-encrypted-CMS-AuthEnvelopedData.patch"
    "Fix-potential-NULL-dereference-processing-CMS-PasswordRec.patch"
    "Match-the-local-q-DHX-parameter-against-the-peer-s-q.patch"
    "Apply-the-buffered-IV-on-the-AES-OCB-EVP_Cipher-path.patch"
    "Fix-handling-of-empty-ciphertext-messages-in-AES-SIV.patch"
    "Fix-possible-use-after-free-in-OpenSSL-PKCS7_verify.patch"
  ];
  configure = ''
    perl ./Configure linux-x86_64 --prefix="$prefix" --libdir=lib --openssldir="$prefix/etc/ssl" \
      shared no-tests no-ssl3
    # the static libraries would compile every file a second time, and are not part of the prefix
    sed -i '/^LIBS=/,/^SHLIBS=/ s/\blib\(crypto\|ssl\)\.a\b//g; /^INSTALL_LIBS=/,/^INSTALL_SHLIBS=/ s/\blib\(crypto\|ssl\)\.a\b//g' Makefile
  '';
  install = ''
    make install_sw install_ssldirs DESTDIR="$out"
  '';
  fixup = ''
    # perl scripts; the prefix has no perl
    rm -rf "$root/bin/c_rehash" "$root/etc/ssl/misc"
    rm -f "$root"/etc/ssl/*.dist
  '';
}
