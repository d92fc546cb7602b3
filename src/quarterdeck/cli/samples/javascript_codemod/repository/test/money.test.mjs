import assert from 'node:assert/strict';
import test from 'node:test';

import { formatMoney, share } from '../src/money.mjs';

test('euros have their sign', () => {
  assert.equal(formatMoney({ cents: 1999, currency: 'EUR' }), '€19.99');
});

test('thousands are grouped', () => {
  assert.equal(formatMoney({ cents: 123456789, currency: 'USD' }), '$1,234,567.89');
});

test('cents have two digits', () => {
  assert.equal(formatMoney({ cents: 5, currency: 'GBP' }), '£0.05');
});

test('what is owed is negative', () => {
  assert.equal(formatMoney({ cents: -250, currency: 'EUR' }), '-€2.50');
});

test('other currencies keep their code', () => {
  assert.equal(formatMoney({ cents: 100, currency: 'CHF' }), 'CHF 1.00');
});

test('a share is rounded to whole cents', () => {
  assert.equal(share(999, 19), 190);
});
