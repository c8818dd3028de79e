// Table of texts, links, badges and times, which the browser draws by itself: the server holds no element per cell.
export default {
  template: `
    <div class="scroll">
      <table class="rows">
        <thead><tr><th v-for="(heading, place) in headings" scope="col" :class="{ number: numbers.includes(place) }">
          {{ heading }}
        </th></tr></thead>
        <tbody><tr v-for="row in rows">
          <td v-for="(cell, place) in row" :colspan="cell.columns" :class="{ number: isNumber(cell, place) }">
            <a v-if="cell.path" :href="cell.path">{{ cell.text }}</a>
            <span v-else-if="cell.is_badge" :class="['badge', cell.tone]">{{ cell.text }}</span>
            <span v-else-if="cell.is_time" class="time"><span v-for="part in parts(cell.text)">{{ part }}</span></span>
            <span v-else :class="cell.tone && cell.tone + '-text'">{{ cell.text }}</span>
            <div v-for="note in cell.notes" class="note">{{ note }}</div>
          </td>
        </tr></tbody>
      </table>
    </div>
  `,
  props: { headings: Array, rows: Array, numbers: Array },
  methods: {
    isNumber(cell, place) {
      return cell.columns === 1 && this.numbers.includes(place);
    },
    // Date and time have a line each in a narrow cell.
    parts(text) {
      const space = text.indexOf(" ");
      return space < 0 ? [text] : [text.slice(0, space), text.slice(space + 1)];
    },
  },
};
