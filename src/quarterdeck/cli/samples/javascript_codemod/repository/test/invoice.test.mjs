import assert from 'node:assert/strict';
import test from 'node:test';

import { invoiceText, totals } from '../src/invoice.mjs';

const INVOICE = {
  currency: 'EUR',
  taxPercent: 19,
  discountPercent: 10,
  lines: [
    { name: 'Paper', quantity: 10, cents: 499 },
    { name: 'Ink', quantity: 2, cents: 2250 },
  ],
};

test('tax is on what is left after the discount', () => {
  assert.deepEqual(totals(INVOICE), { net: 9490, discount: 949, tax: 1623, gross: 10164 });
});

test('an invoice without a discount', () => {
  const plain = { ...INVOICE, discountPercent: undefined };
  assert.deepEqual(totals(plain), { net: 9490, discount: 0, tax: 1803, gross: 11293 });
});

test('an invoice ends with what is to be paid', () => {
  const rows = invoiceText(INVOICE).trimEnd().split('\n');
  assert.deepEqual(
    rows.slice(2).map((row) => row.replace(/ {2,}/, ': ')),
    ['Net: €94.90', 'Discount: -€9.49', 'Tax 19 %: €16.23', 'To pay: €101.64'],
  );
});
