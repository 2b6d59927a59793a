// ESLint's rules for all scripts of the project; ../test_eslint.py runs it. From the project's folder:
// node tests/readers/node_modules/eslint/bin/eslint.js --config tests/readers/eslint.config.mjs image3d_nb tests
import js from '@eslint/js';

const known = (...names) => ({ globals: Object.fromEntries(names.map((name) => [name, 'readonly'])) });
const where = (pattern) => `:matches(Literal[value=/${pattern}/], TemplateElement[value.raw=/${pattern}/])`;
const AS_HTML = 'Text becomes elements here.';
const HTML = '/^(innerHTML|outerHTML|insertAdjacentHTML)$/';

export default [
    js.configs.recommended,
    {
        linterOptions: { reportUnusedDisableDirectives: 'error' },
        rules: {
            'eqeqeq': 'error',
            'no-console': ['error', { allow: ['warn'] }],
            'no-eval': 'error',
            'no-implied-eval': 'error',
            'no-new-func': 'error',
            'no-restricted-syntax': [
                'error',
                { selector: `Identifier[name=${HTML}], Literal[value=${HTML}]`, message: AS_HTML },
                { selector: 'MemberExpression[object.name="document"][property.name=/^write/]', message: AS_HTML },
                { selector: where('https?:\\u002F\\u002F'), message: 'A script names no address.' },
            ],
            'no-shadow': 'error',
            'no-var': 'error',
            'prefer-const': 'error',
        },
    },
    {
        // What the scripts use of a browser, name by name: all of its hundreds would hide slips such as `name`, `event`.
        files: ['image3d_nb/**/*.js'],
        languageOptions: known(
            'AbortController', 'Blob', 'DecompressionStream', 'IntersectionObserver', 'ResizeObserver', 'Response', 'URL', 'Worker', 'atob',
            'clearTimeout', 'console', 'createImageBitmap', 'document', 'matchMedia', 'performance',
            'requestAnimationFrame', 'setTimeout', 'window',
        ),
    },
    { files: ['**/*.mjs'], languageOptions: known('process') },
];
