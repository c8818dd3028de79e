// Form of filters that are part of a page's address. Empty filters are left out of the address.
export default {
  template: `
    <form class="filters" role="search" aria-label="Filters" @submit.prevent="apply">
      <label v-for="field in fields" :key="field.name" :class="['filter', { wide: field.wide }]">
        <span class="filter-name">{{ field.label }}</span>
        <select v-if="field.options" v-model="values[field.name]" @change="apply">
          <option v-for="[value, text] in field.options" :key="value" :value="value">{{ text }}</option>
        </select>
        <input v-else v-model="values[field.name]" :placeholder="field.placeholder" autocomplete="off" spellcheck="false">
      </label>
      <button type="submit" class="plain-button">Filter</button>
      <a v-if="isFiltered" class="clear" :href="action">Clear</a>
    </form>
  `,
  props: { action: String, fields: Array },
  data() {
    return { values: Object.fromEntries(this.fields.map((field) => [field.name, field.value])) };
  },
  computed: {
    isFiltered() {
      return this.fields.some((field) => field.value);
    },
  },
  methods: {
    apply() {
      const filled = Object.entries(this.values).map(([name, value]) => [name, value.trim()]);
      const query = new URLSearchParams(filled.filter(([, value]) => value)).toString();
      location.assign(this.action + (query ? "?" + query : ""));
    },
  },
};
