// Amounts are whole cents, so that sums are exact.

const SIGNS = { EUR: '€', GBP: '£', USD: '$' };

export function formatMoney({ cents, currency }) {
  const sign = SIGNS[currency] ?? `${currency} `;
  const minus = cents < 0 ? '-' : '';
  const whole = Math.trunc(Math.abs(cents) / 100);
  const rest = String(Math.abs(cents) % 100).padStart(2, '0');
  return `${minus}${sign}${grouped(whole)}.${rest}`;
}

export function share(cents, percent) {
  return Math.round((cents * percent) / 100);
}

function grouped(whole) {
  return String(whole).replace(/\B(?=(\d{3})+$)/g, ',');
}
