let x = { a = 1; }; in
x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // x // 1 // x // x
