using Orleans;
using Orleans.Runtime;

namespace Pollux.EmbeddedHost.Runtime;

/// <summary>Makes grain and observer references.</summary>
internal sealed class ReferenceFactory(EmbeddedRuntime runtime) : IClusterClient
{
    public IServiceProvider ServiceProvider => runtime.Services;

    public TGrainInterface GetGrain<TGrainInterface>(string primaryKey, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithStringKey
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(primaryKey);
        if (grainClassNamePrefix is not null)
            throw new NotSupportedException("The embedded host finds grain classes by their interface only.");
        var type = runtime.Classes.ImplementationOf(typeof(TGrainInterface)).GrainType;
        return (TGrainInterface)Create(typeof(TGrainInterface), GrainId.Create(type, primaryKey));
    }

    public TGrainObserverInterface CreateObjectReference<TGrainObserverInterface>(IGrainObserver obj)
        where TGrainObserverInterface : IGrainObserver
    {
        ArgumentNullException.ThrowIfNull(obj);
        if (obj is GrainReference)
            throw new ArgumentException("This is a reference already.", nameof(obj));
        var target = new ObserverTarget(runtime, typeof(TGrainObserverInterface), obj);
        return (TGrainObserverInterface)(object)GrainReference.Create(typeof(TGrainObserverInterface), target);
    }

    public void DeleteObjectReference<TGrainObserverInterface>(IGrainObserver obj)
        where TGrainObserverInterface : IGrainObserver
    {
        if (obj is not GrainReference { Target: ObserverTarget target })
            throw new ArgumentException("This is not a reference made by CreateObjectReference.", nameof(obj));
        target.Delete();
    }

    public object Create(Type interfaceType, GrainId grainId) => GrainReference.Create(interfaceType, new GrainTarget(runtime, grainId));
}
