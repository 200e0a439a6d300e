# The certificate authorities that Mozilla trusts for servers, as one bundle at the path that the
# prefix's openssl searches.
{ build, fetchDebSource }:
build {
  pname = "ca-certificates";
  license = "MPL-2.0";
  homepage = "https://wiki.mozilla.org/CA";
  source = fetchDebSource { name = "ca-certificates"; };
  sources.bundle = "${./bundle.py}";
  configure = "";
  make = ''
    python3 /source/bundle mozilla/certdata.txt > bundle.pem
  '';
  install = ''
    install -Dm644 bundle.pem "$out$prefix/etc/ssl/certs/ca-certificates.crt"
    ln -s certs/ca-certificates.crt "$out$prefix/etc/ssl/cert.pem"
  '';
}
