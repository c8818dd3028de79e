// Live list of log lines. Vue shows all of their text as text.
const MAX_ROWS = 300;
// The list is at its end if at most this many pixels are below.
const END_PX = 40;

export default {
  template: `
    <section class="logs">
      <div class="log-tools">
        <span :class="['badge', isLive ? 'good' : 'warn']" role="status">{{ isLive ? "live" : "paused" }}</span>
        <button type="button" class="plain-button" @click="setLive(!isLive)">{{ isLive ? "Pause" : "Resume" }}</button>
        <button type="button" class="plain-button" :disabled="isLive" @click="setLive(true)">
          Jump to newest<template v-if="waiting"> ({{ count(waiting, "new line") }})</template>
        </button>
        <span v-if="dropped" class="badge warn">{{ count(dropped, "line") }} not shown: narrow the filter</span>
        <span class="soft log-number">{{ isReady ? count(rows.length, "line") : "reading" }}, times in UTC</span>
      </div>
      <div v-if="isReady && !rows.length" class="state empty" role="status">
        <div class="title">{{ empty }}</div>
        <div class="note">{{ hint }}</div>
      </div>
      <div ref="box" class="log-box" tabindex="0" role="region" aria-label="Log lines" @scroll="noteScroll" v-show="rows.length">
        <template v-for="row in rows" :key="row.id">
          <div v-if="row.gap" class="log-gap">{{ count(row.gap, "line") }} not shown</div>
          <details v-else :class="['log-row', row.tone]" @toggle="toggle(row, $event)">
            <summary>
              <time :title="row.time"><span class="log-date">{{ row.time.slice(0, 10) }}</span> {{ row.time.slice(11) }}</time>
              <span class="log-service">{{ row.service }}</span>
              <span class="log-level">{{ row.level }}</span>
              <span class="log-what">
                <span class="log-event" :title="row.title">{{ row.event }}</span>
                <span v-if="row.code" :class="['log-code', row.code === 'OK' ? 'good' : 'bad']">{{ row.code }}</span>
                <span v-if="row.duration" class="log-duration">{{ row.duration }}</span>
                <span class="log-facts">{{ row.summary }}</span>
                <span v-if="row.exception" class="badge bad">exception</span>
              </span>
              <span class="log-links">
                <template v-if="row.logs">
                  <a :href="row.logs" :title="'Lines with the correlation id ' + row.correlation">{{ row.correlation.slice(0, 8) }}</a>
                  <a :href="row.traces" title="Traces with this correlation id">trace</a>
                </template>
              </span>
            </summary>
            <template v-if="opened[row.id]">
              <pre v-if="row.exception" class="log-exception">{{ row.exception }}</pre>
              <dl class="facts mono">
                <template v-for="[name, value] in row.facts" :key="name"><dt>{{ name }}</dt><dd>{{ value }}</dd></template>
              </dl>
            </template>
          </details>
        </template>
      </div>
    </section>
  `,
  props: { empty: String, hint: String },
  emits: ["live"],
  data() {
    return { rows: [], opened: {}, isLive: true, isReady: false, waiting: 0, dropped: 0, nextId: 1 };
  },
  methods: {
    // Add new lines. `dropped` lines before them are missing.
    add(lines, dropped) {
      const gap = dropped ? [{ gap: dropped }] : [];
      const added = [...gap, ...lines].map((line) => Object.freeze({ ...line, id: this.nextId++ }));
      this.rows = [...this.rows, ...added].slice(-MAX_ROWS);
      const first = this.rows.length ? this.rows[0].id : this.nextId;
      this.opened = Object.fromEntries(Object.entries(this.opened).filter(([id]) => id >= first));
      this.dropped += dropped;
      this.waiting = 0;
      this.isReady = true;
      if (this.isLive) this.$nextTick(this.scrollToEnd);
    },
    // Show how many lines wait for the end of a pause.
    wait(number) {
      this.waiting = number;
    },
    setLive(isLive) {
      if (isLive === this.isLive) return;
      this.isLive = isLive;
      this.dropped = 0;
      if (isLive) this.scrollToEnd();
      this.$emit("live", isLive);
    },
    scrollToEnd() {
      const box = this.$refs.box;
      if (box) box.scrollTop = box.scrollHeight;
    },
    // A reader who scrolls up pauses the list, and a reader who scrolls to the end continues it.
    noteScroll() {
      const box = this.$refs.box;
      const isUp = box.scrollTop < this.lastTop;
      const isAtEnd = box.scrollHeight - box.clientHeight - box.scrollTop <= END_PX;
      if (isUp && !isAtEnd && box.scrollHeight === this.lastHeight) this.setLive(false);
      this.lastTop = box.scrollTop;
      this.lastHeight = box.scrollHeight;
    },
    toggle(row, event) {
      this.opened = { ...this.opened, [row.id]: event.target.open };
    },
    count(number, noun) {
      return number.toLocaleString("en") + " " + noun + (number === 1 ? "" : "s");
    },
  },
};
