builtins.getFlake (toString ./locked-wrong)
