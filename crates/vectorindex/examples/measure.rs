use std::time::Instant;
use vectorindex::*;
const D: usize = 384;
fn load(name: &str) -> Vec<Vec<f32>> {
    let b = std::fs::read(format!("data/debian-packages/{name}")).unwrap();
    let h = u16::from_le_bytes([b[8], b[9]]) as usize;
    b[10 + h..].chunks(D).map(|r| { let r: Vec<f32> = r.iter().map(|&x| x as i8 as f32).collect(); let n = r.iter().map(|x| x * x).sum::<f32>().sqrt(); r.iter().map(|x| x / n).collect() }).collect()
}
struct Cpu(f64);
impl Cpu { fn now() -> Cpu { Cpu(Self::t()) } fn t() -> f64 { std::fs::read_to_string("/proc/thread-self/schedstat").unwrap().split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9 } fn s(&self) -> f64 { Self::t() - self.0 } }
fn rss() -> f64 { let s = std::fs::read_to_string("/proc/self/statm").unwrap(); s.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / 1e6 }
fn recall(ix: &VectorIndex, q: &[Vec<f32>]) -> f64 {
    q.iter().map(|q| { let e = ix.search(q, 10, SearchMode::Exact).unwrap(); let a = ix.search(q, 10, SearchMode::Auto).unwrap();
        e.iter().filter(|h| a.iter().any(|x| x.slot == h.slot)).count() as f64 / 10.0 }).sum::<f64>() / q.len() as f64
}
fn main() {
    let v = load("vectors.npy"); let q = load("queries.npy");
    let what = std::env::args().nth(1).unwrap_or_default();
    if what == "table" {
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::DotProduct] {
        for quantization in [Quantization::F32, Quantization::F16, Quantization::Bf16, Quantization::I8] { for ea in [64, 100, 128] {
            if metric != Metric::Cosine && ea != 128 { continue; }
            print!("| {metric:?} {quantization:?} | {ea} |");
            for es in [48, 64, 96] {
                let ix = VectorIndex::new(Options { quantization, expansion_add: ea, expansion_search: es, ..Options::new(D, metric) }).unwrap();
                for b in v.chunks(100) { ix.insert_batch(b).unwrap(); }
                let s = Cpu::now(); while ix.unindexed() > 0 { ix.index_some(1000).unwrap(); }
                let build = v.len() as f64 / s.s();
                let r = recall(&ix, &q);
                let mut best = 0f64; for _ in 0..3 { let s = Cpu::now(); for x in &q { ix.search(x, 10, SearchMode::Auto).unwrap(); } best = best.max(q.len() as f64 / s.s()); }
                if es == 48 { print!(" build {build:.0}/s {:.1} MB |", ix.stats().graph_bytes as f64 / 1e6); }
                print!(" ef{es} {best:.0}/s {r:.4} |");
            }
            println!();
        }}}
    } else if what == "scan" {
        let ix = VectorIndex::new(Options { kind: Kind::Flat, ..Options::new(D, Metric::Cosine) }).unwrap();
        let s = Cpu::now(); for b in v.chunks(100) { ix.insert_batch(b).unwrap(); }
        println!("insert {:.0}/s", v.len() as f64 / s.s());
        let s = Cpu::now(); for x in &q { ix.search(x, 10, SearchMode::Exact).unwrap(); }
        println!("flat scan {:.3} ms", s.s() * 1e3 / q.len() as f64);
        let ix = VectorIndex::new(Options { exact_up_to: 100, ..Options::new(D, Metric::Cosine) }).unwrap();
        for b in v.chunks(100) { ix.insert_batch(b).unwrap(); }
        ix.index_some(1000).unwrap();
        let s = Cpu::now(); for x in &q { ix.search(x, 10, SearchMode::Auto).unwrap(); }
        println!("tail 9000 + graph 1000: {:.3} ms", s.s() * 1e3 / q.len() as f64);
    } else if what == "big" {
        let n: usize = std::env::args().nth(2).unwrap().parse().unwrap();
        let mut seed = 1u64; let mut rnd = move || { seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17; (seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5 };
        println!("rss at start {:.0}", rss());
        let ix = VectorIndex::new(Options::new(D, Metric::Cosine)).unwrap();
        let s = Cpu::now();
        let mut b = Vec::new();
        for i in 0..n { let base = &v[i % v.len()]; b.push(base.iter().map(|x| x + 0.06 * rnd()).collect::<Vec<f32>>()); if b.len() == 100 { ix.insert_batch(&b).unwrap(); b.clear(); } }
        ix.insert_batch(&b).unwrap();
        println!("inserted {:.1}s rss {:.0} MB, own count {:.0} MB", s.s(), rss(), ix.memory_bytes() as f64 / 1e6);
        let s = Cpu::now(); let mut peak = 0f64; while ix.unindexed() > 0 { ix.index_some(1000).unwrap(); peak = peak.max(rss()); }
        println!("indexed {:.0}/s rss {:.0} peak {peak:.0} own {:.0} {:?}", n as f64 / s.s(), rss(), ix.memory_bytes() as f64 / 1e6, ix.stats());
        println!("recall {:.4}", recall(&ix, &q[..300]));
        let s = Cpu::now(); for x in &q { ix.search(x, 10, SearchMode::Auto).unwrap(); } println!("search {:.0}/s", q.len() as f64 / s.s());
        let s = Cpu::now(); for x in &q[..50] { ix.search(x, 10, SearchMode::Exact).unwrap(); } println!("exact {:.1} ms", s.s() * 20.0);
    } else if what == "mixed" {
        use std::sync::atomic::*;
        let ix = VectorIndex::new(Options::new(D, Metric::Cosine)).unwrap();
        let stop = AtomicBool::new(false); let count = AtomicUsize::new(0);
        let clients: usize = std::env::args().nth(2).unwrap().parse().unwrap();
        std::thread::scope(|s| {
            let mut hs = vec![];
            for c in 0..clients { let (ix, q, stop, count) = (&ix, &q, &stop, &count); hs.push(s.spawn(move || { let mut worst = vec![]; let mut i = c * 37; while !stop.load(Ordering::Relaxed) { let t = Instant::now(); ix.search(&q[i % q.len()], 10, SearchMode::Auto).unwrap(); worst.push(t.elapsed().as_micros() as u32); i += 1; count.fetch_add(1, Ordering::Relaxed); } worst })); }
            let (ixr, stopr) = (&ix, &stop);
            s.spawn(move || while !stopr.load(Ordering::Relaxed) { if ixr.unindexed() > 0 { ixr.index_some(256).unwrap(); } else { std::thread::sleep(std::time::Duration::from_millis(1)); } });
            let t = Instant::now(); let mut wl = vec![];
            for b in v.chunks(100) { let t = Instant::now(); ix.insert_batch(b).unwrap(); wl.push(t.elapsed().as_micros()); }
            let ins = t.elapsed().as_secs_f64(); wl.sort();
            println!("insert {:.0}/s batch p50 {} us p99 {} us max {} us; searches meanwhile {:.0}/s", 1e4 / ins, wl[50], wl[98], wl[99], count.load(Ordering::Relaxed) as f64 / ins);
            let c0 = count.load(Ordering::Relaxed); let t = Instant::now();
            while ix.unindexed() > 0 { std::thread::sleep(std::time::Duration::from_millis(1)); }
            let e = t.elapsed().as_secs_f64(); let c1 = count.load(Ordering::Relaxed);
            println!("indexing under load: {:.0} vectors/s, searches {:.0}/s", 1e4 / e, (c1 - c0) as f64 / e);
            let t = Instant::now(); std::thread::sleep(std::time::Duration::from_secs(2));
            println!("then searches {:.0}/s", (count.load(Ordering::Relaxed) - c1) as f64 / t.elapsed().as_secs_f64());
            // paced updates
            let c2 = count.load(Ordering::Relaxed); let t = Instant::now(); let mut ups = 0; let mut slots: Vec<Slot> = ix.search(&q[0], 10000, SearchMode::Exact).unwrap().iter().map(|h| h.slot).collect();
            while t.elapsed().as_secs_f64() < 3.0 { let i = ups % 10000; let n = ix.insert(&v[i]).unwrap(); let o = std::mem::replace(&mut slots[i], n); ix.remove(o); ups += 1; if ups % 10 == 0 { std::thread::sleep(std::time::Duration::from_millis(5)); } }
            println!("updates {:.0}/s with searches {:.0}/s {:?}", ups as f64 / 3.0, (count.load(Ordering::Relaxed) - c2) as f64 / 3.0, ix.stats());
            stop.store(true, Ordering::Relaxed);
            let mut all: Vec<u32> = hs.into_iter().flat_map(|h| h.join().unwrap()).collect(); all.sort();
            println!("search us p50 {} p99 {} p99.9 {} max {}", all[all.len() / 2], all[all.len() * 99 / 100], all[all.len() * 999 / 1000], all[all.len() - 1]);
        });
    }
}
