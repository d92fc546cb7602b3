import assert from 'node:assert/strict';
import test from 'node:test';

import { reminderText } from '../src/reminder.mjs';

const INVOICE = {
  currency: 'EUR',
  taxPercent: 20,
  lines: [{ name: 'Paper', quantity: 2, cents: 1000 }],
};

test('a reminder names what is due', () => {
  assert.equal(reminderText(INVOICE, 14), '€24.00 have been due for 14 days.');
});

test('after a month a fee is added', () => {
  assert.equal(reminderText(INVOICE, 31), '€29.00 have been due for 31 days.');
});
