import assert from 'node:assert/strict';
import test from 'node:test';

import { lineText, lineTotal } from '../src/line.mjs';

const PENS = { name: 'Pens', quantity: 12, cents: 150 };

test('a line costs quantity times price', () => {
  assert.equal(lineTotal(PENS), 1800);
});

test('a line is laid out in columns', () => {
  assert.equal(lineText(PENS, 'EUR'), `${'Pens'.padEnd(24)}   12       €18.00`);
});
