// What the package has of the rest of the repository: the profiles' schema and the
// license.
'use strict';
const fs = require('node:fs');
const path = require('node:path');

fs.copyFileSync(path.join(__dirname, '../../profiles/sbx.schema.json'), path.join(__dirname, 'sbx.schema.json'));
fs.copyFileSync(path.join(__dirname, '../../LICENSE'), path.join(__dirname, 'LICENSE'));
