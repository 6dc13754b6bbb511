using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.DataPlane.Volumes;

/// <content>Requests that an earlier process read and did not answer (<see cref="FuseRequest.IsResent"/>): done, done in part, or not at
/// all.</content>
/// <remarks>
/// Reads, lookups, writes, flushes and changes of attributes are repeated: the kernel holds the file or the directory locked until they
/// are answered, or the application has issued them at the same time and must expect either order. Changes of names are repeated too,
/// and what fails because it is done already is a success. It can be told from a real failure because the directory is locked in the
/// kernel from the look at the name to the answer, and nobody but the kernel changes names.
/// <code>
/// create, mkdir, mknod, symlink, link   EEXIST, and the object is of that type        done
/// unlink, rmdir                         ENOENT                                         done
/// rename                                ENOENT, and the new name exists                done
/// rename with exchange                  both names have changed places since the note   done (<see cref="ExchangeNotes"/>)
/// setxattr that creates                 EEXIST, and the value is the same one          done
/// removexattr                           ENODATA                                        done
/// </code>
/// </remarks>
public sealed partial class FuseVolume
{
    private void ChangeNamespaceAgain(in FuseRequest request, Mutation mutation, FuseReplier reply)
    {
        var token = request.Token;
        switch (mutation.Kind)
        {
            case MutationKind.CreateFile when request.Opcode == FuseOpcode.Create:
                var flags = (int)request.As<FuseCreateIn>().Flags & ~OpenFlags.Exclusive;
                _volume.Mutate(mutation, (errno, created) => OpenCreated(token, mutation, flags, errno, created, reply));
                break;
            case MutationKind.Unlink or MutationKind.RemoveDirectory:
                _volume.Mutate(mutation, (errno, _) => reply.Error(token, errno == Errno.ENOENT ? 0 : VolumeErrno.ForKernel(errno)));
                break;
            case MutationKind.Rename when (mutation.Flags & Libc.RenameExchange) != 0:
                Exchange(request, mutation, reply);
                break;
            case MutationKind.Rename:
                _volume.Mutate(mutation, (errno, _) => reply.Error(token,
                    errno == Errno.ENOENT && Has(mutation.NewParent, mutation.NewName) ? 0 : VolumeErrno.ForKernel(errno)));
                break;
            default:
                _volume.Mutate(mutation, (errno, attributes) =>
                {
                    if (errno == Errno.EEXIST)
                        errno = LookupCreated(mutation, out attributes);
                    if (errno == 0)
                        Entry(token, attributes, reply);
                    else
                        reply.Error(token, VolumeErrno.ForKernel(errno));
                });
                break;
        }
    }

    private void SetXattrAgain(Mutation mutation, FuseReplyToken token, FuseReplier reply) =>
        _volume.Mutate(mutation, (errno, _) =>
        {
            var current = new byte[XattrBytesMax];
            var done = errno == Errno.EEXIST && _volume.GetXattr(mutation.Object, mutation.Name, current, out var length) == 0
                && current.AsSpan(0, length).SequenceEqual(mutation.Data);
            reply.Error(token, done ? 0 : VolumeErrno.ForKernel(errno));
        });

    private void RemoveXattrAgain(Mutation mutation, FuseReplyToken token, FuseReplier reply) =>
        _volume.Mutate(mutation, (errno, _) => reply.Error(token, errno == Errno.ENODATA ? 0 : VolumeErrno.ForKernel(errno)));

    /// <summary>The object that a creation or a link made before, with the reference that it gives.</summary>
    private int LookupCreated(Mutation mutation, out ObjectAttributes attributes)
    {
        var result = _volume.Lookup(mutation.Parent, mutation.Name, out attributes);
        if (result != 0)
            return result;
        var same = mutation.Kind == MutationKind.Link
            ? attributes.Object == mutation.Object
            : (attributes.Mode & StMode.TypeMask) == (mutation.Mode & StMode.TypeMask);
        if (same)
            return 0;
        _volume.Forget(attributes.Object, 1);
        return Errno.EEXIST;
    }

    /// <summary>Done twice is not done at all: what the names meant before is noted until the kernel has its answer.</summary>
    private void Exchange(in FuseRequest request, Mutation mutation, FuseReplier reply)
    {
        var token = request.Token;
        var number = request.Header.Unique & ~FuseRequest.ResentBit;
        var now = (ObjectAt(mutation.Parent, mutation.Name), ObjectAt(mutation.NewParent, mutation.NewName));
        if (request.IsResent && Exchanges is null)
        {
            End(Errno.EIO);
            return;
        }

        if (request.IsResent && Exchanges!.Find(number) is { } before)
        {
            // Otherwise the names mean what they did: nobody but the kernel changes them, and it holds both directories locked.
            if (now == (before.Second, before.First))
            {
                End(0);
                return;
            }
        }
        else if (Exchanges is not null && !Exchanges.TryBegin(number, now))
        {
            End(Errno.EIO);
            return;
        }

        _volume.Mutate(mutation, (errno, _) => End(errno));

        void End(int errno)
        {
            reply.Error(token, VolumeErrno.ForKernel(errno));
            Exchanges?.End(number);
        }
    }

    private bool Has(ulong parent, byte[] name) => ObjectAt(parent, name) != 0;

    /// <returns>0: there is none.</returns>
    private ulong ObjectAt(ulong parent, byte[] name)
    {
        if (_volume.Lookup(parent, name, out var found) != 0)
            return 0;
        _volume.Forget(found.Object, 1);
        return found.Object;
    }
}
