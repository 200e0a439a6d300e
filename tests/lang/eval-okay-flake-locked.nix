# Inputs, and inputs of inputs, are those of the flake's lock file.
{ inherit (builtins.getFlake (toString ./locked)) answer below same names; }
