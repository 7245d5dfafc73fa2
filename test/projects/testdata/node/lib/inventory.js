'use strict';
const plural = require('sbx-fixture-plural');

exports.summary = (items) =>
  Object.entries(items).map(([name, n]) => `${n} ${n === 1 ? name : plural(name)}`).join(', ');
