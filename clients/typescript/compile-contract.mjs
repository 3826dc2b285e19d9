// Compiles the contract for the tests of both clients: `node compile-contract.mjs FILE` writes {abi, bytecode}.
import { readFileSync, writeFileSync } from 'node:fs';

import solc from 'solc';

const content = readFileSync(new URL('../contracts/Token.sol', import.meta.url), 'utf8');
const outputSelection = { '*': { '*': ['abi', 'evm.bytecode.object'] } };
const settings = { evmVersion: 'paris', optimizer: { enabled: true, runs: 200 }, outputSelection };
const input = { language: 'Solidity', sources: { 'Token.sol': { content } }, settings };
const { contracts, errors = [] } = JSON.parse(solc.compile(JSON.stringify(input)));
if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join('\n'));
const { abi, evm } = contracts['Token.sol'].Token;
writeFileSync(process.argv[2], JSON.stringify({ abi, bytecode: '0x' + evm.bytecode.object }));
