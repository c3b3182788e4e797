// Fills so many bytes with what programs in JavaScript keep, says its number, and waits until its standard input closes.
// Math.random follows from node's --random-seed, gc comes from --expose-gc.
const fs = require('fs');

const TARGET = Number(process.argv[1]);
const LETTERS = 'eeeeettttaaaooiinnsshhrrddlucmfwygpb';

const below = (bound) => Math.floor(Math.random() * bound);
const many = (count, make) => Array.from({ length: count }, make);
const WORDS = many(20000, () => many(2 + below(11), () => LETTERS[below(LETTERS.length)]).join(''));
const word = () => WORDS[Math.floor(WORDS.length * Math.random() ** 3)];
const text = (count) => many(count, word).join(' ');

class Point {
  constructor() {
    this.x = Math.random();
    this.y = Math.random();
    this.label = word();
  }
}

const user = (number) => ({
  id: number,
  name: `${word()} ${word()}`,
  email: `${word()}.${number}@${word()}.example`,
  active: Math.random() < 0.7,
  score: Math.round(Math.random() * 10000) / 100,
  tags: many(below(7), word),
  address: { street: text(2), number: 1 + below(200), zip: String(10000 + below(90000)) },
});

const logLines = (number) =>
  many(20, () => `2026-11-${10 + below(20)}T${10 + below(14)}:${10 + below(50)}Z INFO request ${number} /${word()}/${word()} took ${below(900)} ms`);

const walk = () => {
  let value = 100;
  return Float64Array.from({ length: 500 }, () => (value += Math.random() - 0.5));
};

const KINDS = [
  [12, user],
  [6, (number) => JSON.parse(JSON.stringify(user(number)))],
  [5, logLines],
  [5, () => text(20 + below(580))],
  [1, walk],
  [3, () => Object.fromEntries(many(50, () => [word(), below(1e6)]))],
  [3, () => new Map(many(50, () => [word(), below(1e6)]))],
  [2, () => many(20, () => many(20, () => below(256)))],
  [2, () => new Set(many(60, () => below(1e9)))],
  [3, () => many(20, () => new Point())],
  [2, () => many(30, Math.random)],
  [1, () => Buffer.from(many(200 + below(5800), () => below(256)))],
  [1, () => Buffer.alloc(below(2) ? 1024 : 8192)],
  [2, (number) => () => number],
].flatMap(([weight, make]) => Array(weight).fill(make));

const resident = () => Number(/^RssAnon:\s+(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'ascii'))[1]) * 1024;

const kept = [];
do {
  while (resident() < TARGET) {
    for (let round = 0; round < 500; round++) {
      kept.push(KINDS[below(KINDS.length)](kept.length));
      // Holes, as programs have them.
      if (Math.random() < 0.15) kept[below(kept.length)] = null;
    }
  }
  // What is garbage goes now, not while the memory is read.
  gc();
} while (resident() < TARGET * 0.98);
console.log('ready', process.pid);
process.stdin.on('end', () => process.exit(kept.length === 0 ? 1 : 0)).resume();
