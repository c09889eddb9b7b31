// What a page does with a bucket: node browser.js INPUT, where INPUT is JSON with the program of a browser, a page with a form and
// a file for it, a page of another origin, and presigned URLs. It prints what the page saw, as JSON. TestBrowser runs it.
import { chromium } from "playwright-core";

const input = JSON.parse(process.argv[2]);

const browser = await chromium.launch({ executablePath: input.browser });
try {
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
  page.setDefaultTimeout(60_000);

  await page.goto(input.page);
  await page.setInputFiles("input[type=file]", input.file);
  await page.click("input[type=submit]");
  await page.waitForURL((url) => url.href !== input.page);
  const form = { stored: page.url(), page: await page.content() };

  // Runs in the page.
  const fetches = async ({ put, get, text }) => {
    const headers = { "Content-Type": "text/x-canary" };
    const sent = await fetch(put, { method: "PUT", body: text, headers });
    const whole = await fetch(get, { cache: "no-store" });
    const range = await fetch(get, { cache: "no-store", headers: { Range: "bytes=3-5" } });
    return {
      sent: sent.status, etag: sent.headers.get("ETag"), whole: await whole.text(), type: whole.headers.get("Content-Type"),
      sameETag: whole.headers.get("ETag") === sent.headers.get("ETag"), range: await range.text(),
    };
  };
  const fetched = await page.evaluate(fetches, input);

  await page.goto(input.otherPage);
  const other = await page.evaluate((get) => fetch(get, { cache: "no-store" }).then(() => "answered", (error) => error.message), input.get);
  console.log(JSON.stringify({ ...form, fetched, other }));
} finally {
  await browser.close();
}
