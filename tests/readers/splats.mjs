// Reads splat files without our code: gsplat.js (.ply, .splat), the spz library (.spz) and splat-transform (all four).
// node splats.mjs FOLDER: for every such file in it, NAME.json gets what they read; splat-transform also writes
// NAME.transformed.{ply,spz,glb}, of a .ply also .{compressed.ply,4.spz,sog}; the spz library of a .spz also writes
// NAME.packed.4.spz. Numbers are in each program's own order and axes.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import createSpz from '@adobe/spz';
import * as transform from '@playcanvas/splat-transform';
import * as gsplat from 'gsplat';

const [folder] = process.argv.slice(2);
const spz = await createSpz();
const bytes = (name) => new Uint8Array(readFileSync(join(folder, name)));
const plain = (fields) => Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, Array.from(value)]));

function byGsplat(name) {
    const loader = name.endsWith('.ply') ? gsplat.PLYLoader : gsplat.Loader;
    const { positions, rotations, scales, colors } = loader.LoadFromArrayBuffer(bytes(name).buffer, new gsplat.Scene()).data;
    return plain({ positions, rotations, scales, colors });
}

function bySpz(name) {
    const cloud = spz.loadSpzFromBuffer(bytes(name), { to: spz.CoordinateSystem.UNSPECIFIED });
    const { positions, scales, rotations, alphas, colors, sh } = cloud;
    writeFileSync(join(folder, `${name}.packed.4.spz`), spz.saveSpzToBuffer(cloud, { version: 4, from: spz.CoordinateSystem.UNSPECIFIED, sh1Bits: 8, shRestBits: 8 }));
    return { shDegree: cloud.shDegree, ...plain({ positions, scales, rotations, alphas, colors, sh }) };
}

async function byTransform(name) {
    const fileSystem = new transform.MemoryReadFileSystem();
    fileSystem.set(name, bytes(name));
    const inputFormat = transform.getInputFormat(name);
    const [dataTable] = await transform.readFile({ filename: name, inputFormat, options: {}, params: [], fileSystem });
    const more = name.endsWith('.ply') ? [['compressed.ply'], ['4.spz', 4], ['sog']] : [];
    for (const [suffix, spzVersion] of [['ply'], ['spz', 3], ['glb'], ...more]) {
        const written = new transform.MemoryFileSystem();
        const filename = `${name}.transformed.${suffix}`;
        const options = { spzVersion, iterations: 10 };
        const outputFormat = transform.getOutputFormat(filename, options);
        await transform.writeFile({ filename, outputFormat, dataTable, options }, written);
        writeFileSync(join(folder, filename), written.results.get(filename));
    }
    return plain(Object.fromEntries(dataTable.columns.map((column) => [column.name, column.data])));
}

for (const name of readdirSync(folder).filter((each) => /\.(ply|splat|spz|sog)$/.test(each))) {
    const read = { transform: await byTransform(name) };
    if (name.endsWith('.spz')) read.spz = bySpz(name);
    else if (!name.endsWith('.sog')) read.gsplat = byGsplat(name);
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(read));
}
