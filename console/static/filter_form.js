// Form of filters that are part of a page's address. Empty filters are left out of the address.
export default {
  template: `
    <form class="filters" role="search" aria-label="Filters" @submit.prevent="apply">
      <label v-for="field in fields" :key="field.name" :class="['filter', field.size]">
        <span class="filter-name">{{ field.label }}</span>
        <select v-if="field.options" v-model="values[field.name]" @change="apply">
          <option v-for="[value, text] in field.options" :key="value" :value="value">{{ text }}</option>
        </select>
        <input v-else-if="field.kind === 'checkbox'" type="checkbox" v-model="values[field.name]" true-value="1" false-value=""
          @change="apply">
        <input v-else v-model="values[field.name]" :type="field.kind" :list="listOf(field)" :step="field.kind === 'datetime-local' ? 1 : null"
          :placeholder="field.placeholder" autocomplete="off" spellcheck="false">
        <datalist v-if="field.suggestions.length" :id="listOf(field)">
          <option v-for="each in field.suggestions" :key="each" :value="each"></option>
        </datalist>
      </label>
      <button type="submit" class="plain-button">Filter</button>
      <a v-if="isFiltered" class="clear" :href="address({})">Clear</a>
    </form>
  `,
  props: { action: String, fields: Array, kept: Object },
  data() {
    return { values: Object.fromEntries(this.fields.map((field) => [field.name, field.value])) };
  },
  computed: {
    isFiltered() {
      return this.fields.some((field) => field.value);
    },
  },
  methods: {
    listOf(field) {
      return field.suggestions.length ? `filter-${field.name}` : null;
    },
    address(values) {
      const all = Object.entries({ ...this.kept, ...values }).map(([name, value]) => [name, value.trim()]);
      const query = new URLSearchParams(all.filter(([, value]) => value)).toString();
      return this.action + (query ? "?" + query : "");
    },
    apply() {
      location.assign(this.address(this.values));
    },
  },
};
