import { totals } from './invoice.mjs';
import * as money from './money.mjs';

const FEE_CENTS = 500;

export function reminderText(invoice, daysLate) {
  const due = totals(invoice).gross + (daysLate > 30 ? FEE_CENTS : 0);
  const amount = money.formatAmount(due, invoice.currency);
  return `${amount} have been due for ${daysLate} days.`;
}
