// The unmodified JavaScript client against the Brainy that BRAINY_URL names. test_javascript.py runs this.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import { QdrantClient } from '@qdrant/js-client-rest';

const client = new QdrantClient({ url: process.env.BRAINY_URL, apiKey: process.env.BRAINY_API_KEY, timeout: 60_000 });
const SCHEMA = {
  vectors: {
    near: { size: 4, distance: 'Cosine' },
    pages: { size: 2, distance: 'Dot', multivector_config: { comparator: 'max_sim' } },
  },
  sparse_vectors: { terms: {} },
};
const CITIES = [
  [1, [0.05, 0.61, 0.76, 0.74], 'Berlin', 'DE', 3_700_000],
  [2, [0.19, 0.81, 0.75, 0.11], 'London', 'GB', 8_900_000],
  [3, [0.36, 0.55, 0.47, 0.94], 'Moscow', 'RU', 12_600_000],
  [4, [0.18, 0.01, 0.85, 0.8], 'Hamburg', 'DE', 1_900_000],
];
const POINTS = CITIES.map(([id, near, city, country, people]) => ({
  id,
  vector: { near, pages: [[id, 0], [0, id]], terms: { indices: [id, 9], values: [1, 0.5] } },
  payload: { city, country, people },
}));
const GERMAN = { must: [{ key: 'country', match: { value: 'DE' } }] };

const ids = (points) => points.map((point) => point.id);
const fails = (status, words) => (error) => {
  assert.equal(error.status, status, error.message);
  assert.match(JSON.stringify(error.data), words);
  return true;
};

describe('a collection with all kinds of vectors', () => {
  const name = `js-${randomUUID()}`;

  before(async () => {
    assert.equal(await client.createCollection(name, SCHEMA), true);
    const { status } = await client.upsert(name, { wait: true, points: POINTS });
    assert.equal(status, 'completed');
  });
  after(() => client.deleteCollection(name));

  test('it exists, is listed and told', async () => {
    assert.deepEqual(await client.collectionExists(name), { exists: true });
    const { collections } = await client.getCollections();
    assert.ok(collections.some((each) => each.name === name));
    const info = await client.getCollection(name);
    assert.equal(info.points_count, 4);
    assert.equal(info.config.params.vectors.near.distance, 'Cosine');
    await assert.rejects(client.createCollection(name, SCHEMA), fails(409, /exists/));
    assert.match((await client.versionInfo()).version, /^1\./);
  });

  test('points are read back', async () => {
    const [point] = await client.retrieve(name, { ids: [2], with_vector: ['pages', 'terms'] });
    assert.deepEqual(point.payload, { city: 'London', country: 'GB', people: 8_900_000 });
    assert.deepEqual(point.vector, { pages: [[2, 0], [0, 2]], terms: { indices: [2, 9], values: [1, 0.5] } });
  });

  test('searches of each kind of vector', async () => {
    const near = await client.query(name, { query: CITIES[3][1], using: 'near', limit: 2, with_payload: ['city'] });
    assert.equal(near.points[0].id, 4);
    assert.ok(Math.abs(near.points[0].score - 1) < 1e-5);
    assert.deepEqual(near.points[0].payload, { city: 'Hamburg' });

    const pages = await client.query(name, { query: [[1, 0], [0, 1]], using: 'pages', limit: 3 });
    assert.deepEqual(ids(pages.points), [4, 3, 2]);
    assert.equal(pages.points[0].score, 8);

    const terms = await client.query(name, { query: { indices: [3, 9], values: [1, 1] }, using: 'terms', limit: 1 });
    assert.deepEqual(ids(terms.points), [3]);
    assert.equal(terms.points[0].score, 1.5);
  });

  test('by id, filtered, in a batch, by the older methods', async () => {
    const byId = await client.query(name, { query: 1, using: 'near', filter: GERMAN });
    assert.deepEqual(ids(byId.points), [4]);
    const [first, second] = await client.queryBatch(name, {
      searches: [
        { query: CITIES[0][1], using: 'near', limit: 1 },
        { query: CITIES[1][1], using: 'near', limit: 1 },
      ],
    });
    assert.deepEqual([ids(first.points), ids(second.points)], [[1], [2]]);
    const found = await client.search(name, { vector: { name: 'near', vector: CITIES[2][1] }, limit: 1 });
    assert.deepEqual(ids(found), [3]);
    const batch = await client.searchBatch(name, { searches: [{ vector: { name: 'near', vector: CITIES[2][1] }, limit: 1 }] });
    assert.deepEqual(batch.map(ids), [[3]]);
  });

  test('recommendations by groups, of the older method', async () => {
    const { groups } = await client.recommendPointGroups(name, {
      positive: [1], using: 'near', group_by: 'country', group_size: 2, limit: 3, with_payload: ['city'],
    });
    assert.deepEqual(new Set(groups.map((group) => group.id)), new Set(['DE', 'GB', 'RU']));
    const german = groups.find((group) => group.id === 'DE');
    assert.deepEqual(german.hits.map((hit) => hit.payload), [{ city: 'Hamburg' }]);
  });

  test('two searches fused', async () => {
    const { points } = await client.query(name, {
      prefetch: [
        { query: CITIES[0][1], using: 'near', limit: 2 },
        { query: { indices: [1], values: [1] }, using: 'terms', limit: 2 },
      ],
      query: { fusion: 'rrf' },
      limit: 1,
    });
    assert.deepEqual(ids(points), [1]);
  });

  test('pages and counts', async () => {
    const page = await client.scroll(name, { limit: 3, with_payload: false });
    assert.deepEqual(ids(page.points), [1, 2, 3]);
    assert.equal(page.next_page_offset, 4);
    const rest = await client.scroll(name, { limit: 3, offset: page.next_page_offset });
    assert.deepEqual(ids(rest.points), [4]);
    assert.equal(rest.next_page_offset, null);
    assert.deepEqual(await client.count(name, { filter: GERMAN, exact: true }), { count: 2 });
  });

  test('mistakes are refused by name', async () => {
    const wrong = { query: [1, 2], using: 'near' };
    await assert.rejects(client.query(name, wrong), fails(400, /dimension/));
    await assert.rejects(client.getCollection(`${name}-no`), fails(404, new RegExp(`${name}-no`)));
    const missing = { wait: true, points: [99], payload: { a: 1 } };
    await assert.rejects(client.setPayload(name, missing), fails(404, /99/));
  });
});

describe('a collection that changes', () => {
  const name = `js-${randomUUID()}`;
  const payloadOf = async (id) => (await client.retrieve(name, { ids: [id] }))[0].payload;

  before(async () => {
    await client.createCollection(name, { vectors: { size: 4, distance: 'Euclid' } });
    const [numbers, vectors, payloads] = [0, 1, 4].map((i) => CITIES.map((city) => city[i]));
    const columns = { ids: numbers, vectors, payloads: payloads.map((people) => ({ people })) };
    await client.upsert(name, { wait: true, batch: columns });
  });
  after(() => client.deleteCollection(name));

  test('payloads', async () => {
    await client.setPayload(name, { wait: true, payload: { new: { deep: 1 } }, points: [1] });
    assert.deepEqual(await payloadOf(1), { people: 3_700_000, new: { deep: 1 } });
    await client.deletePayload(name, { wait: true, keys: ['people'], points: [1] });
    await client.overwritePayload(name, { wait: true, payload: { only: true }, points: [2] });
    await client.clearPayload(name, { wait: true, points: [3] });
    assert.deepEqual(await Promise.all([1, 2, 3].map(payloadOf)), [{ new: { deep: 1 } }, { only: true }, {}]);
  });

  test('an index of a payload field', async () => {
    await client.createPayloadIndex(name, { wait: true, field_name: 'people', field_schema: 'integer' });
    assert.equal((await client.getCollection(name)).payload_schema.people.data_type, 'integer');
    const many = { must: [{ key: 'people', range: { gte: 1_900_000 } }] };
    assert.deepEqual(await client.count(name, { filter: many }), { count: 1 });
    await client.deletePayloadIndex(name, 'people', { wait: true });
    assert.deepEqual((await client.getCollection(name)).payload_schema, {});
  });

  test('vectors, operations in one request, deletion', async () => {
    await client.updateVectors(name, { wait: true, points: [{ id: 4, vector: [9, 9, 9, 9] }] });
    const { points } = await client.query(name, { query: [9, 9, 9, 9], limit: 1 });
    assert.deepEqual([points[0].id, points[0].score], [4, 0]);
    const results = await client.batchUpdate(name, {
      wait: true,
      operations: [
        { upsert: { points: [{ id: '5c56c793-69f3-4fbf-87e6-c4bf54c28c26', vector: [0, 0, 0, 1] }] } },
        { delete: { points: [1, 2] } },
      ],
    });
    assert.deepEqual(results.map((each) => each.status), ['completed', 'completed']);
    await client.delete(name, { wait: true, filter: { must: [{ has_id: [3] }] } });
    const { points: left } = await client.scroll(name);
    assert.deepEqual(ids(left), [4, '5c56c793-69f3-4fbf-87e6-c4bf54c28c26']);
  });
});
