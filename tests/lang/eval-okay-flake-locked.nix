# Inputs, and inputs of inputs, are what the flake's lock file says they are.
{ inherit (builtins.getFlake (toString ./locked)) answer below same names; }
