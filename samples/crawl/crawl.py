#!/usr/bin/python3
"""The same crawl in Python, to compare with: by asyncio and aiohttp, or by threads and pycurl.

usage: crawl.py --by asyncio|threads --site URL --file FILE [--concurrency N] [--timeout S] [--attempts N]

Saves to the same kind of SQLite file as crawl does and prints the same line of JSON. Exit status: 0 all saved, 1 something
is missing, 2 cannot start, 130 interrupted.
"""
import argparse
import json
import resource
import signal
import sqlite3
import sys
import threading
import time

PER_PAGE = 20
BETWEEN_SAVES = 0.2
TOO_MANY_IN_A_ROW = 20


class FetchError(Exception):
    pass


class Job:
    def __init__(self, how):
        self.how = how
        self.stopped = threading.Event()
        self.interrupted = False
        self.pages, self.came, self.doubles, self.saved = [], [], 0, 0
        self.fetched = self.failed = self.in_a_row = self.retries = 0
        self.first_failure = ''
        self.file = sqlite3.connect(how.file, isolation_level=None, check_same_thread=False)
        self.file.executescript('''
            PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192;
            CREATE TABLE IF NOT EXISTS comments(id INTEGER PRIMARY KEY, video INTEGER NOT NULL, author TEXT NOT NULL,
              likes INTEGER NOT NULL, text TEXT NOT NULL);
            CREATE TABLE IF NOT EXISTS pages(video INTEGER, page INTEGER, PRIMARY KEY (video, page)) WITHOUT ROWID;''')

    def choose(self, answer):
        """What of the list of videos is not saved yet."""
        saved = set(self.file.execute('SELECT video, page FROM pages'))
        for video in read_json(answer):
            for page in range(1, (video['comments'] + PER_PAGE - 1) // PER_PAGE + 1):
                if (video['video'], page) not in saved:
                    due = min(PER_PAGE, video['comments'] - (page - 1) * PER_PAGE)
                    self.pages.append((video['video'], page, due))

    def deliver(self, which, comments):
        self.came.append((which, comments))
        self.fetched += 1
        self.in_a_row = 0

    def fail(self, why):
        if self.stopped.is_set():
            return
        self.failed += 1
        self.in_a_row += 1
        self.first_failure = self.first_failure or str(why)
        if self.in_a_row == TOO_MANY_IN_A_ROW:
            self.stop(f'{TOO_MANY_IN_A_ROW} pages failed one after the other, the last: {why}')

    def stop(self, why):
        self.first_failure = why
        self.stopped.set()

    def save(self):
        due, self.came = self.came, []
        if not due:
            return
        before = self.file.total_changes
        rows = [(c['id'], which[0], c['author'], c['likes'], c['text']) for which, comments in due for c in comments]
        try:
            self.file.execute('BEGIN IMMEDIATE')
            self.file.executemany('INSERT INTO comments VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING', rows)
            new = self.file.total_changes - before
            self.file.executemany('INSERT OR REPLACE INTO pages VALUES (?, ?)', [which[:2] for which, _ in due])
            self.file.execute('COMMIT')
            self.doubles += len(rows) - new
            self.saved += new
        except sqlite3.Error as error:
            self.fetched -= len(due)
            self.failed += len(due)
            if self.file.in_transaction:
                self.file.execute('ROLLBACK')
            self.stop(f'cannot save: {self.how.file}: {error}')

    def show(self, start):
        done, passed = self.fetched + self.failed, time.monotonic() - start
        left = passed / done * (len(self.pages) - done) if done else 0
        print(f'{self.how.concurrency} {self.how.by} of Python: {done} of {len(self.pages)} pages, {done / passed:.0f}/s, '
              f'{left:.0f} s left, {self.retries} retries, {self.failed} failed',
              end='\r' if sys.stderr.isatty() else '\n', file=sys.stderr, flush=True)


def read_json(answer):
    try:
        return json.loads(answer)
    except ValueError as error:
        raise FetchError(f'not JSON: {error}') from None


def read_page(answer, which):
    page = read_json(answer)
    try:
        if (page['video'], page['page'], len(page['comments'])) != which:
            raise FetchError('the answer is another page than was asked for')
    except (TypeError, KeyError):
        raise FetchError('the answer is no page') from None
    return page['comments']


def path_of(which):
    return f'/videos/{which[0]}/comments?page={which[1]}'


def waits(attempts):
    """How long to wait before each further attempt; send 429 for a site that asks to wait."""
    attempt, asked = 1, 0
    while attempt <= attempts and asked < 60:
        status = yield min(0.1 * 2 ** min(asked or attempt - 1, 5), 1)
        if status == 429:
            asked += 1
        else:
            attempt += 1


async def by_asyncio(job):
    import asyncio
    import aiohttp

    permits = asyncio.Semaphore(job.how.concurrency)

    async def fetch(session, path, read):
        pauses = waits(job.how.attempts)
        pause = next(pauses)
        while True:
            status = 0
            try:
                async with session.get(job.how.site + path) as response:
                    status, answer = response.status, await response.read()
                if status != 200:
                    raise FetchError(f'the site answers {status}')
                return read(answer)
            except (FetchError, aiohttp.ClientError, asyncio.TimeoutError) as error:
                try:
                    later, pause = pause, pauses.send(status)
                except StopIteration:
                    pause = None
                if pause is None or job.stopped.is_set():
                    raise FetchError(f'{job.how.site}{path}: {str(error) or "timed out"}') from None
            job.retries += 1
            await asyncio.sleep(later)

    async def crawl_page(session, which):
        async with permits:
            if job.stopped.is_set():
                return
            try:
                job.deliver(which, await fetch(session, path_of(which), lambda answer: read_page(answer, which)))
            except FetchError as error:
                job.fail(error)

    async def crawl_video(session, pages):
        await asyncio.gather(*(crawl_page(session, which) for which in pages))

    async def watch(start):
        while True:
            await asyncio.sleep(BETWEEN_SAVES)
            await asyncio.to_thread(job.save)
            job.show(start)

    start = time.monotonic()
    connector = aiohttp.TCPConnector(limit=job.how.concurrency)
    timeout = aiohttp.ClientTimeout(total=job.how.timeout)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        job.choose(await fetch(session, '/videos', lambda answer: answer))
        videos = {}
        for which in job.pages:
            videos.setdefault(which[0], []).append(which)
        watching = asyncio.create_task(watch(start))
        await asyncio.gather(*(crawl_video(session, pages) for pages in videos.values()))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def by_threads(job):
    import io
    import pycurl

    lock = threading.Lock()
    rest = iter(())

    def fetch(easy, path, read):
        pauses = waits(job.how.attempts)
        pause = next(pauses)
        while True:
            status, answer = 0, io.BytesIO()
            easy.setopt(pycurl.URL, job.how.site + path)
            easy.setopt(pycurl.WRITEDATA, answer)
            try:
                easy.perform()
                status = easy.getinfo(pycurl.RESPONSE_CODE)
                if status != 200:
                    raise FetchError(f'the site answers {status}')
                return read(answer.getvalue())
            except (FetchError, pycurl.error) as error:
                why = error.args[-1]
                try:
                    later, pause = pause, pauses.send(status)
                except StopIteration:
                    pause = None
                if pause is None or job.stopped.is_set():
                    raise FetchError(f'{job.how.site}{path}: {why}') from None
            with lock:
                job.retries += 1
            time.sleep(later)

    def new_easy():
        easy = pycurl.Curl()
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.PROXY, '')
        easy.setopt(pycurl.TIMEOUT_MS, int(job.how.timeout * 1000))
        return easy

    def work():
        easy = new_easy()
        while not job.stopped.is_set():
            with lock:
                which = next(rest, None)
            if which is None:
                return
            try:
                comments = fetch(easy, path_of(which), lambda answer: read_page(answer, which))
                with lock:
                    job.deliver(which, comments)
            except FetchError as error:
                with lock:
                    job.fail(error)

    start = time.monotonic()
    job.choose(fetch(new_easy(), '/videos', lambda answer: answer))
    rest = iter(job.pages)
    pool = [threading.Thread(target=work) for _ in range(job.how.concurrency)]
    for thread in pool:
        thread.start()
    for thread in pool:
        while thread.is_alive():
            thread.join(BETWEEN_SAVES)
            job.save()
            job.show(start)


def peak_memory_kib():
    with open('/proc/self/status', encoding='ascii') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))


def main():
    options = argparse.ArgumentParser(description='The crawl in Python, to compare with.')
    options.add_argument('--by', choices=['asyncio', 'threads'], required=True)
    options.add_argument('--site', required=True)
    options.add_argument('--file', required=True)
    options.add_argument('--concurrency', type=int, default=64)
    options.add_argument('--timeout', type=float, default=10)
    options.add_argument('--attempts', type=int, default=5)
    how = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    start, cpu = time.monotonic(), time.process_time()
    try:
        job = Job(how)
    except sqlite3.Error as error:
        print(f'crawl.py: {how.file}: {error}', file=sys.stderr)
        return 2

    def interrupt(*_):
        job.interrupted = True
        job.stopped.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        if how.by == 'asyncio':
            import asyncio
            start, cpu = time.monotonic(), time.process_time()  # without the imports
            asyncio.run(by_asyncio(job))
        else:
            by_threads(job)
    except FetchError as error:
        print(f'crawl.py: {error}', file=sys.stderr)
        return 2
    job.save()
    complete = job.fetched == len(job.pages) and not job.doubles
    print(json.dumps({'by': f'python {how.by}', 'concurrency': how.concurrency, 'workers': 1, 'pages': job.fetched,
                      'comments': job.saved, 'seconds': round(time.monotonic() - start, 3),
                      'cpu_seconds': round(time.process_time() - cpu, 3), 'peak_memory_kib': peak_memory_kib(),
                      'retries': job.retries, 'failed': job.failed, 'doubles': job.doubles,
                      'interrupted': job.interrupted}))
    if job.first_failure:
        print(f'crawl.py: {job.failed} pages failed: {job.first_failure}', file=sys.stderr)
    return 0 if complete else 130 if job.interrupted else 1


if __name__ == '__main__':
    sys.exit(main())
