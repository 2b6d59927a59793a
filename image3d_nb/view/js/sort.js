// Far-to-near order of the splats, exact, in a worker so that turning stays smooth while it runs.

// Indices of the points by falling depth along `forward`. A radix sort in two passes of 65,536 buckets over the
// float32 bits: exact (no quantised depth), stable and linear in N.
// The worker is made from this function's own text, so it must not use anything from outside of itself.
export function depthOrder(positions, forward) {
  const count = positions.length / 3;
  const depths = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    depths[i] = positions[3 * i] * forward[0] + positions[3 * i + 1] * forward[1] + positions[3 * i + 2] * forward[2];
  }
  const keys = new Uint32Array(depths.buffer);
  const low = new Uint32Array(65536);
  const high = new Uint32Array(65536);
  for (let i = 0; i < count; i++) {
    // Makes the unsigned order of the bits the order of the numbers: flip all bits of negatives, else the sign.
    const bits = keys[i];
    const key = (bits & 0x80000000 ? ~bits : bits ^ 0x80000000) >>> 0;
    keys[i] = key;
    low[key & 0xffff]++;
    high[key >>> 16]++;
  }
  for (let bucket = 0, lowSum = 0, highSum = 0; bucket < 65536; bucket++) {
    const [lowCount, highCount] = [low[bucket], high[bucket]];
    low[bucket] = lowSum;
    high[bucket] = highSum;
    lowSum += lowCount;
    highSum += highCount;
  }
  const halfway = new Uint32Array(count);
  for (let i = 0; i < count; i++) halfway[low[keys[i] & 0xffff]++] = i;
  const order = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    const index = halfway[i];
    order[count - 1 - high[keys[index] >>> 16]++] = index; // from the end: the farthest comes first
  }
  return order;
}

// onOrder(order, forward) is called for the newest direction asked for; directions asked for meanwhile are dropped.
export function createSorter(positions, onOrder) {
  let waiting = null;
  let busy = false;
  let worker = startWorker(positions, receive, giveUpWorker);

  function receive(order, forward) {
    busy = false;
    onOrder(order, forward);
    next();
  }

  // A page that forbids workers (some notebook front ends do) still gets its picture: sort right here.
  function giveUpWorker(lost) {
    worker = null;
    busy = false;
    waiting = waiting || lost;
    next();
  }

  function next() {
    if (busy || !waiting) return;
    const forward = waiting;
    waiting = null;
    busy = true;
    if (worker) worker.sort(forward);
    else setTimeout(() => receive(depthOrder(positions, forward), forward));
  }

  return {
    request(forward) {
      waiting = forward;
      next();
    },
    stop: () => worker && worker.stop(),
  };
}

function startWorker(positions, onOrder, onFailure) {
  const source = `${depthOrder}
    let positions;
    onmessage = ({ data }) => {
      if (data.positions) { positions = data.positions; return; }
      const order = depthOrder(positions, data.forward);
      postMessage({ order, forward: data.forward }, [order.buffer]);
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  let asked = null;
  let worker;
  try {
    worker = new Worker(url);
  } catch (error) {
    console.warn(`image3d viewer: no worker (${error.message}); sorting in the page`);
    return null;
  }
  worker.onmessage = ({ data }) => {
    asked = null;
    onOrder(data.order, data.forward);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    worker.terminate();
    console.warn("image3d viewer: the worker stopped; sorting in the page");
    onFailure(asked);
  };
  worker.postMessage({ positions });
  return {
    sort(forward) {
      asked = forward;
      worker.postMessage({ forward });
    },
    stop() {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
}
