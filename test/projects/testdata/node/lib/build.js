'use strict';
const fs = require('node:fs');
const { summary } = require('./inventory.js');

fs.mkdirSync('dist', { recursive: true });
fs.writeFileSync('dist/summary.txt', summary({ apple: 3, box: 1 }) + '\n');
