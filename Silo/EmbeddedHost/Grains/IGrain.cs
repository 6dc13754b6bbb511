using Orleans.Runtime;

namespace Orleans.Runtime
{
    /// <summary>Anything that a reference can point to: a grain or an observer.</summary>
    public interface IAddressable;
}

namespace Orleans
{
    /// <summary>Base of all grain interfaces.</summary>
    public interface IGrain : IAddressable;

    /// <summary>A grain whose key is a string: the only kind of key that this host offers.</summary>
    public interface IGrainWithStringKey : IGrain;

    /// <summary>
    /// Base of the interfaces through which grains call back into application objects. The host keeps only a weak
    /// reference to the object behind an observer reference, as Orleans does: its owner must keep it alive.
    /// </summary>
    public interface IGrainObserver : IAddressable;
}
