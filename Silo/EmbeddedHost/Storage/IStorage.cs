using Orleans.Core;

namespace Orleans.Core
{
    /// <summary>A stored value of one grain. The ETag is null before the first write.</summary>
    public interface IStorage
    {
        string? Etag { get; }

        bool RecordExists { get; }

        /// <summary>Removes the value if the ETag is current; the state is then a new, empty one.</summary>
        Task ClearStateAsync();

        /// <summary>Writes the value if the ETag is current.</summary>
        /// <exception cref="Orleans.Storage.InconsistentStateException">Somebody else has written since.</exception>
        Task WriteStateAsync();

        Task ReadStateAsync();
    }

    /// <summary>A stored value of one grain.</summary>
    public interface IStorage<TState> : IStorage
    {
        TState State { get; set; }
    }
}

namespace Orleans.Runtime
{
    /// <summary>Persistent state of a grain, injected by <see cref="PersistentStateAttribute"/> and read before activation.</summary>
    public interface IPersistentState<TState> : IStorage<TState>;

    /// <summary>Asks for persistent state. State names are unique over all grain classes: rows do not carry the class.</summary>
    [AttributeUsage(AttributeTargets.Parameter)]
    public class PersistentStateAttribute(string stateName, string? storageName = null) : Attribute
    {
        public string StateName { get; } = stateName;

        public string? StorageName { get; } = storageName;
    }
}
